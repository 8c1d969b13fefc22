/** What tests of services on consensus stand on. */
export { FakeGroup, type FakeGroupOptions } from './fake-group.ts'
