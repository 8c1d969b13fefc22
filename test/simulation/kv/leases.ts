/** Leases that are kept alive, lost and revoked: none ends while its client holds it, and every one that nobody holds ends. */
import { simulate, type SimulatedNode, type World } from '@understudy/cluster/simulation'
import type { KvLease } from '@understudy/protocols'
import type { RunInput, RunResult, SimulatedProcess } from '@understudy/runtime/simulation'
import { drawnGroup, serviceRun } from '../service-bed.ts'
import { KvBed, kvTags, type SeenRevision } from './kv-bed.ts'

export const leaseTags: readonly string[] = [
  ...kvTags.filter((tag) => tag !== 'session-expired'),
  ...[
    'expired',
    'kept-over-a-leader',
    'kept',
    'lost',
    'revoked',
    'holder-died',
    'grant-unknown',
    'lease-not-found',
  ],
]

const members = ['a', 'b', 'c'] as const

/** A lease as its client has it, with a key that lives and dies with it. */
interface Held {
  readonly key: string
  readonly lease: KvLease
  readonly place: SimulatedNode
  readonly process: SimulatedProcess
  readonly ttlMs: number
  isRevoked: boolean
  /** When nobody held it any more, true time. */
  freeAtMs: number
  /** Its key was deleted. */
  isGone: boolean
  readonly leader: string | undefined
}

export function runLeases(input: RunInput): Promise<RunResult> {
  return simulate({ ...input, ...serviceRun, nodes: 4 }, leasing)
}

async function leasing(world: World): Promise<void> {
  const bed = new KvBed(world, {
    members,
    tags: leaseTags,
    group: drawnGroup(world),
  })
  const held: Held[] = []
  bed.onRevision = (revision) => judgeDeletions(world, bed, held, revision)
  await bed.underChaos(() =>
    world.parallel(6, async (client) => {
      for (let i = 0; i < 6; i++) {
        await world.sleep(world.choose(16, 'client/rest') * 150)
        const place = world.anyUp('client/node')
        if (place !== undefined) await hold(world, bed, place, held, `lease/${client}/${i}`)
      }
    }),
  )
  await bed.settle(120_000)
  await ends(world, bed, held)
  // A client's late retry may have come meanwhile, and not be everywhere.
  await bed.settle(120_000)
}

/** Grants a lease, puts a key with it, and keeps it for a while: then it is revoked, or left to its client's fate. */
async function hold(
  world: World,
  bed: KvBed,
  place: SimulatedNode,
  held: Held[],
  key: string,
): Promise<void> {
  const ttlMs = [3_000, 1_000, 8_000][world.choose(3, 'lease/ttl')] ?? 3_000
  const { process: life } = place
  const granted = await bed.attempt(place, (kv) => kv.lease({ ttlMs }))
  if (granted.type !== 'done' || life === undefined) {
    if (granted.type === 'unknown') bed.met('grant-unknown')
    return
  }
  const lease = granted.value
  const one: Held = {
    key,
    lease,
    place,
    process: life,
    ttlMs,
    isRevoked: false,
    freeAtMs: Number.POSITIVE_INFINITY,
    isGone: false,
    leader: bed.leader(),
  }
  const free = (): void => {
    one.freeAtMs = Math.min(one.freeAtMs, world.now())
  }
  life.onKill(() => {
    if (one.freeAtMs === Number.POSITIVE_INFINITY) bed.met('holder-died')
    free()
  })
  lease.signal.addEventListener('abort', () => {
    if (!one.isRevoked && life.isAlive) bed.met('lost')
    free()
  })
  // Its key may be gone again before the answer to the put is here.
  held.push(one)
  const put = await bed.attempt(place, (kv) => kv.put(key, 'held', { lease }))
  if (put.type !== 'done') {
    held.splice(held.indexOf(one), 1)
    if (put.code === 'KV_LEASE_NOT_FOUND') bed.met('lease-not-found')
  }
  await world.sleep(world.choose(12, 'lease/keep') * 700)
  if (!life.isAlive || lease.signal.aborted) return
  bed.met('kept')
  if (bed.leader() !== one.leader) bed.met('kept-over-a-leader')
  if (world.chance(0.5, 'lease/revoke')) {
    one.isRevoked = true
    const revoked = await bed.attempt(place, () => lease.revoke())
    if (revoked.type !== 'done' || put.type !== 'done') return
    bed.met('revoked')
    const found = await bed.attempt(place, (kv) => kv.get(key))
    world.check(
      'a-revoked-lease-takes-its-keys',
      found.type !== 'done' || found.value === undefined,
      `"${key}" is still there after its lease ${lease.id} was revoked`,
    )
    const late = await bed.attempt(place, (kv) => kv.put(`${key}/late`, 'not held', { lease: lease.id }))
    world.check('a-lease-that-is-over-takes-no-keys', late.type !== 'done', `"${key}/late" was put`)
    if (late.type === 'refused' && late.code === 'KV_LEASE_NOT_FOUND') bed.met('lease-not-found')
  }
}

/** A key went: nobody may still believe to hold its lease. */
function judgeDeletions(
  world: World,
  bed: KvBed,
  held: readonly Held[],
  { events, revision }: SeenRevision,
): void {
  for (const { type, key } of events) {
    if (type !== 'delete') continue
    const one = held.find((candidate) => candidate.key === key)
    if (one === undefined) continue
    one.isGone = true
    if (one.isRevoked) continue
    bed.met('expired')
    const { process: life, lease, place, ttlMs } = one
    // Who stands still believes nothing, and finds out when it goes on.
    const nowMs = life.platform.clock.monotonicMs()
    world.check(
      'no-lease-ends-early',
      !life.isAlive || life.isBlocked || nowMs >= lease.heldUntilMs,
      `Lease ${lease.id} of ${ttlMs} ms was ended by revision ${revision}, and "${place.name}" holds it for another ` +
        `${lease.heldUntilMs - nowMs} ms`,
    )
  }
}

/** What nobody holds ends: within its time and a leader's look, or a new leader's whole term of it. */
async function ends(world: World, bed: KvBed, held: readonly Held[]): Promise<void> {
  for (const one of held) {
    if (one.freeAtMs === Number.POSITIVE_INFINITY) {
      one.isRevoked = true
      for (;;) {
        const { type } = await bed.attempt(one.place, () => one.lease.revoke())
        if (type === 'done' || !one.process.isAlive) break
      }
    }
  }
  const withinMs = 8_000 * 1.05 + 10_000
  await world.until('what-nobody-holds-ends', () => held.every(({ isGone }) => isGone), {
    withinMs,
    everyMs: 100,
  })
  const leases = members.map((node) => bed.machine(node)?.status().leases ?? 0)
  const untilMs = world.now() + withinMs
  while (members.some((node) => (bed.machine(node)?.status().leases ?? 0) > 0)) {
    // Grants whose answers were lost end too.
    world.check('what-nobody-holds-ends', world.now() < untilMs, `leases are left: ${leases.join(', ')}`)
    await world.sleep(100)
  }
}
