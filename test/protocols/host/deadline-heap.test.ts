/** The heap of deadlines against a list that is searched. */
import fc from 'fast-check'
import { test } from 'tap'
import { sourceModule } from '../../support/source-module.ts'

const { DeadlineHeap } = await sourceModule<
  typeof import('../../../packages/protocols/src/host/deadline-heap.ts')
>('protocols', 'host/deadline-heap')

class Entry {
  readonly name: number
  dueMs = Number.POSITIVE_INFINITY
  heapMs = Number.POSITIVE_INFINITY
  heapIndex = -1
  constructor(name: number) {
    this.name = name
  }
}

const step = fc.record({
  entry: fc.nat(39),
  dueMs: fc.oneof(fc.nat(400), fc.constant(Number.POSITIVE_INFINITY)),
  what: fc.constantFrom('set' as const, 'set' as const, 'set' as const, 'remove' as const, 'take' as const),
})

void test('DeadlineHeap: whoever is due is taken, nobody else, and the next time is never too late', (t) => {
  const property = fc.property(fc.array(step, { minLength: 40, maxLength: 300, size: 'max' }), (steps) => {
    const heap = new DeadlineHeap<Entry>()
    const entries = Array.from({ length: 40 }, (_, name) => new Entry(name))
    const wanted = new Map<Entry, number>()
    let nowMs = 0
    for (const { entry: at, dueMs, what } of steps) {
      const entry = entries[at] as Entry
      if (what === 'set') {
        heap.set(entry, nowMs + dueMs)
        wanted.set(entry, nowMs + dueMs)
      } else if (what === 'remove') {
        heap.remove(entry)
        wanted.delete(entry)
      } else {
        nowMs += Math.min(dueMs, 40)
        const due = [...wanted].filter(([, ms]) => ms <= nowMs).map(([{ name }]) => name)
        const taken = heap.takeDue(nowMs)
        for (const one of taken) wanted.delete(one)
        const names = taken.map(({ name }) => name).sort((a, b) => a - b)
        if (names.join() !== due.sort((a, b) => a - b).join()) throw new Error(`took ${names}, due ${due}`)
        if (heap.nextMs <= nowMs) throw new Error(`it is due at ${heap.nextMs}, and now is ${nowMs}`)
      }
      const nextMs = Math.min(Number.POSITIVE_INFINITY, ...wanted.values())
      if (heap.nextMs > nextMs) throw new Error(`next at ${heap.nextMs}, wanted ${nextMs}`)
    }
  })
  fc.assert(property, { numRuns: 1_000, seed: 7 })
  t.end()
})
