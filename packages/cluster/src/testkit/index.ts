export { transportContract } from './transport-contract.ts'
export type { ContractTest, DeclareTest, MakeTransport } from './transport-contract.ts'
