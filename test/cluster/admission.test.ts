/** Who may take up room before it has said who it is: each limit for itself, on a time that is handed in. */
import fc from 'fast-check'
import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'

type Options = ConstructorParameters<typeof Admission>[0]

const { Admission } = await sourceModule<typeof import('../../packages/cluster/src/transport/admission.ts')>(
  'cluster',
  'transport/admission',
)

const far = '203.0.113.7'

function admission(options: Options = {}, own: { agedMs?: number; silentMax?: number } = {}) {
  return new Admission<string>(options, { agedMs: 1_000, silentMax: 4, hasNames: false, ...own })
}

/** Knocks `count` times, and says how often it was let in, and why not the first time that it was not. */
function knocks(door: ReturnType<typeof admission>, host: string, count: number, nowMs = 0) {
  let welcome = 0
  let reason: string | undefined
  for (let n = 0; n < count; n++) {
    const answer = door.knock(`${host} ${n}`, host, nowMs)
    if (answer.type === 'welcome') welcome++
    else reason ??= answer.reason
  }
  return { welcome, reason }
}

const many = { silentMax: 10_000 }

void test('Admission: 16 unknown connections from one address by default, an IPv6 address counting as its /64', async (t) => {
  const door = admission({}, many)
  t.same(knocks(door, far, 20), { welcome: 16, reason: 'crowded' })
  t.same(
    knocks(door, `::ffff:${far}`, 1),
    { welcome: 0, reason: 'crowded' },
    'its IPv6 form is the same address',
  )
  t.same(knocks(door, '203.0.113.8', 1), { welcome: 1, reason: undefined })
  t.same(knocks(door, '2001:db8:0:1::1', 10), { welcome: 10, reason: undefined })
  t.same(knocks(door, '2001:db8:0:1:ffff::2', 10), { welcome: 6, reason: 'crowded' })
  t.same(knocks(door, '2001:db8:0:2::1', 1), { welcome: 1, reason: undefined })
})

void test('Admission: loopback has no limits of one address, unless they are set', async (t) => {
  for (const host of ['127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1', 'a']) {
    t.same(knocks(admission({}, many), host, 2_000), { welcome: 2_000, reason: undefined }, host)
    const crowded = { welcome: 3, reason: 'crowded' }
    t.same(knocks(admission({ unestablishedPerAddressMax: 3 }, many), host, 9), crowded, host)
    const rate = { welcome: 6, reason: 'rate' }
    t.same(knocks(admission({ connectionsPerSecondPerAddress: 3 }, many), host, 9), rate, host)
  }
})

void test('Admission: 50 connections a second from one address by default, 100 at once, filled up by time', async (t) => {
  const door = admission({ unestablishedPerAddressMax: 1_000_000 }, many)
  t.same(knocks(door, far, 150), { welcome: 100, reason: 'rate' })
  t.same(knocks(door, far, 150, 500), { welcome: 25, reason: 'rate' })
  t.same(knocks(door, far, 150, 500), { welcome: 0, reason: 'rate' }, 'who is refused is not credited')
  t.same(knocks(door, far, 150, 60_000), { welcome: 100, reason: 'rate' }, 'and saves up no more')
})

void test('Admission: the table of rates is bounded, and forgets who was quiet longest', async (t) => {
  const door = admission({ connectionsPerSecondPerAddress: 0.5 }, many)
  t.same(knocks(door, far, 2), { welcome: 1, reason: 'rate' })
  for (let n = 0; n < 10_000; n++) {
    knocks(door, `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`, 1)
    if (n % 1_000 === 0) knocks(door, far, 1)
  }
  t.equal(door.counts.rates, 4_096)
  t.same(knocks(door, far, 1), { welcome: 0, reason: 'rate' }, 'who knocks is remembered')
  t.same(knocks(door, '10.0.0.1', 1), { welcome: 1, reason: undefined }, 'who was quiet longest is forgotten')
})

void test('Admission: above silentMax the oldest silent one goes, and is counted no more', async (t) => {
  const door = admission({ unestablishedPerAddressMax: 3 })
  for (let n = 0; n < 3; n++) t.equal(room(door.knock(`first ${n}`, far, n)), undefined)
  t.equal(room(door.knock('fourth', '198.51.100.1', 4)), undefined)
  t.same(door.knock('too many', far, 5), { type: 'refused', reason: 'crowded' })
  t.equal(room(door.knock('fifth', '198.51.100.1', 6)), 'first 0')
  t.equal(room(door.knock('sixth', far, 7)), 'first 1', 'who had to go makes room at its address too')
  t.same(door.counts, { silent: 4, links: 0, addresses: 2, rates: 2 })
})

void test('Admission: at unestablishedMax a link with a quarter of its time behind it makes room, a younger one does not', async (t) => {
  const door = admission({ unestablishedMax: 2 }, many)
  const enter = (name: string, nowMs: number) => door.enter(name, '127.0.0.1', nowMs)
  t.equal(room(enter('a', 0)), undefined)
  t.equal(room(enter('b', 10)), undefined)
  t.same(enter('c', 999), { type: 'refused', reason: 'crowded' })
  t.same(door.counts, { silent: 0, links: 2, addresses: 1, rates: 0 }, 'who is refused leaves nothing behind')
  t.equal(room(enter('d', 1_000)), 'a')
  t.same(enter('e', 1_009), { type: 'refused', reason: 'crowded' })
  t.equal(room(enter('f', 1_010)), 'b')
  t.same(door.counts, { silent: 0, links: 2, addresses: 1, rates: 0 })
})

void test('Admission: who is established, or gone, leaves its place; leaving twice is harmless', async (t) => {
  const door = admission({ unestablishedMax: 1, unestablishedPerAddressMax: 1 }, many)
  for (let n = 0; n < 50; n++) {
    const answer = door.enter('x', far, n * 100)
    if (answer.type === 'refused') throw new Error(answer.reason)
    t.equal(door.enter('y', far, n * 100).type, 'refused')
    door.leave(answer.guest)
    door.leave(answer.guest)
  }
  t.same(door.counts, { silent: 0, links: 0, addresses: 0, rates: 1 })
})

void test('Admission: allowAddresses, IPv4 and IPv6', async (t) => {
  const door = admission({ allowAddresses: ['10.1.0.0/16', '192.0.2.9', '2001:db8::/32'] }, many)
  const yes = ['10.1.255.255', '::ffff:10.1.0.1', '192.0.2.9', '2001:DB8:ffff::1', '2001:db8::1%eth0']
  for (const host of yes) t.equal(door.knock('x', host, 0).type, 'welcome', host)
  for (const host of [
    '10.2.0.0',
    '192.0.2.8',
    '2001:db9::',
    '127.0.0.1',
    '::1',
    'a',
    '',
    '10.1.0.1.example',
  ]) {
    t.same(door.knock('x', host, 0), { type: 'refused', reason: 'address' }, host)
  }
  t.throws(() => admission({ allowAddresses: ['node-b.example'] }), { message: /no name; write/ })
  t.throws(() => admission({ allowAddresses: [] }), RangeError)
  t.throws(() => admission({ connectionsPerSecondPerAddress: Number.NaN }), RangeError)
})

void test('Admission: after any story the counts are those of a plain list, and no limit was passed', async (t) => {
  const hosts = ['203.0.113.1', '203.0.113.2', '2001:db8::1', '2001:db8::2', '127.0.0.1']
  const act = fc.record({ kind: fc.integer({ min: 0, max: 3 }), at: fc.nat(63), wait: fc.nat(400) })
  fc.assert(
    fc.property(fc.array(act, { maxLength: 200 }), (acts) => {
      const door = new Admission<number>(
        { unestablishedMax: 3, unestablishedPerAddressMax: 4, connectionsPerSecondPerAddress: 1_000 },
        { agedMs: 500, silentMax: 5, hasNames: false },
      )
      const inside = new Map<
        number,
        { guest: { owner: number; key: string }; isLink: boolean; host: string }
      >()
      let nowMs = 0
      let names = 0
      const leave = (owner: number | undefined): void => {
        if (owner === undefined) return
        if (!inside.delete(owner)) throw new Error(`${owner} had to go and was not there`)
      }
      for (const { kind, at, wait } of acts) {
        nowMs += wait
        const host = hosts[at % hosts.length] ?? ''
        const [owner, one] = [...inside][at % Math.max(1, inside.size)] ?? []
        if (kind < 2) {
          const name = names++
          const answer = door.knock(name, host, nowMs)
          if (answer.type === 'welcome') {
            leave(answer.makeRoom)
            inside.set(name, { guest: answer.guest, isLink: false, host })
          }
        } else if (kind === 2 && one !== undefined && !one.isLink) {
          const answer = door.ask(one.guest, nowMs)
          if (answer.type === 'welcome') {
            leave(answer.makeRoom)
            one.isLink = true
          }
        } else if (kind === 3 && one !== undefined && owner !== undefined) {
          door.leave(one.guest)
          leave(owner)
        }
        const links = [...inside.values()].filter(({ isLink }) => isLink).length
        const { counts } = door
        if (counts.links !== links || counts.silent !== inside.size - links) throw new Error('miscounted')
        if (links > 3 || counts.silent > 5) throw new Error('a limit was passed')
        const keys = [...inside.values()].map(({ guest }) => guest.key)
        for (const key of keys) {
          if (keys.filter((other) => other === key).length > 4) throw new Error(`too many of ${key}`)
        }
      }
    }),
    { numRuns: 300 },
  )
  t.pass('300 stories')
})

function room<T>(answer: { type: 'welcome'; makeRoom: T | undefined } | { type: 'refused'; reason: string }) {
  if (answer.type === 'refused') throw new Error(`refused: ${answer.reason}`)
  return answer.makeRoom
}
