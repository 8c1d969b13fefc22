/**
 * The shapes of partitions: which hosts cannot reach which, as ordered pairs. Pure, so that each shape can be held to
 * what it promises. After Jepsen's nemesis (`one`, `majority`, `majorities-ring`, `minority-third`, `bridge`) and
 * TigerBeetle's packet simulator (uniform size, uniform assignment, asymmetric).
 */
import type { ChoiceStream } from '@understudy/runtime/simulation'

/** What a shape needs to know of a host. */
export interface PartitionHost {
  readonly name: string
  readonly zone: string
}

/** From, to: what the first sends does not reach the second. */
export type CutPair<H extends PartitionHost> = readonly [from: H, to: H]

export interface Cut<H extends PartitionHost> {
  /** For people: `a | b, c`. */
  readonly what: string
  readonly pairs: readonly CutPair<H>[]
}

/** Draws a partition; `undefined` when there are too few hosts or zones for it, or the draw divides nobody. */
export type PartitionShape = <H extends PartitionHost>(
  hosts: readonly H[],
  choices: ChoiceStream,
) => Cut<H> | undefined

/** All shapes, by the name of their kind of fault without `partition-`. */
export const partitionShapes = Object.freeze({
  isolate,
  halves,
  assignment,
  'minority-third': minorityThird,
  ring,
  bridge,
  'one-way': oneWay,
  zone: byZone,
} satisfies Record<string, PartitionShape>)

export type PartitionShapeName = keyof typeof partitionShapes

/** Nobody of one group reaches anybody of another. Who is in no group keeps all connections. */
export function cutBetween<H extends PartitionHost>(groups: readonly (readonly H[])[]): Cut<H> {
  const pairs: CutPair<H>[] = []
  for (const [index, group] of groups.entries()) {
    for (const other of groups.slice(index + 1)) {
      for (const a of group) for (const b of other) if (a !== b) pairs.push([a, b], [b, a])
    }
  }
  return { what: groups.map(namesOf).join(' | '), pairs }
}

/** One host sees nobody. */
function isolate<H extends PartitionHost>(hosts: readonly H[], choices: ChoiceStream): Cut<H> | undefined {
  return split(hosts, choices, 1)
}

/** Two parts; the size of the first is uniform. */
function halves<H extends PartitionHost>(hosts: readonly H[], choices: ChoiceStream): Cut<H> | undefined {
  return split(hosts, choices, 1 + choices.choose(hosts.length - 1))
}

/** Two parts; each host falls into either with the same probability. */
function assignment<H extends PartitionHost>(hosts: readonly H[], choices: ChoiceStream): Cut<H> | undefined {
  const away = hosts.filter(() => choices.choose(2) === 1)
  if (away.length === 0 || away.length === hosts.length) return undefined
  return cutBetween([away, without(hosts, away)])
}

/** Fewer than a third are cut off: as many as Byzantine protocols bear. */
function minorityThird<H extends PartitionHost>(
  hosts: readonly H[],
  choices: ChoiceStream,
): Cut<H> | undefined {
  const most = Math.floor((hosts.length - 1) / 3)
  return most < 1 ? undefined : split(hosts, choices, 1 + choices.choose(most))
}

/** Every host sees a majority, and no two see the same one: in a ring, each sees only its neighbours. */
function ring<H extends PartitionHost>(hosts: readonly H[], choices: ChoiceStream): Cut<H> | undefined {
  const { length } = hosts
  const order = shuffled(hosts, choices)
  // A majority is itself and half of the others, rounded up: so many on each side.
  const reach = Math.ceil(Math.floor(length / 2) / 2)
  const pairs: CutPair<H>[] = []
  for (const [i, a] of order.entries()) {
    for (const [j, b] of order.entries()) {
      const apart = Math.abs(i - j)
      if (Math.min(apart, length - apart) > reach) pairs.push([a, b])
    }
  }
  return pairs.length === 0 ? undefined : { what: `ring ${namesOf(order)}`, pairs }
}

/** Two halves that do not see each other, and one host that sees both. */
function bridge<H extends PartitionHost>(hosts: readonly H[], choices: ChoiceStream): Cut<H> | undefined {
  if (hosts.length < 3) return undefined
  const [between, ...rest] = shuffled(hosts, choices)
  const half = Math.ceil(rest.length / 2)
  const { what, pairs } = cutBetween([rest.slice(0, half), rest.slice(half)])
  return { what: `${what}, bridge ${between?.name ?? ''}`, pairs }
}

/** One part hears the other, and is not heard. */
function oneWay<H extends PartitionHost>(hosts: readonly H[], choices: ChoiceStream): Cut<H> | undefined {
  const isTurned = choices.choose(2) === 1
  const some = drawn(hosts, choices, 1 + choices.choose(hosts.length - 1))
  const others = without(hosts, some)
  if (some.length === 0 || others.length === 0) return undefined
  const [from, to] = isTurned ? [others, some] : [some, others]
  return {
    what: `${namesOf(from)} not heard by ${namesOf(to)}`,
    pairs: from.flatMap((a) => to.map((b): CutPair<H> => [a, b])),
  }
}

/** One zone is cut off. */
function byZone<H extends PartitionHost>(hosts: readonly H[], choices: ChoiceStream): Cut<H> | undefined {
  const zones = [...new Set(hosts.map(({ zone }) => zone))]
  if (zones.length < 2) return undefined
  const zone = zones[choices.choose(zones.length)]
  const inside = hosts.filter((host) => host.zone === zone)
  return cutBetween([inside, without(hosts, inside)])
}

function split<H extends PartitionHost>(
  hosts: readonly H[],
  choices: ChoiceStream,
  size: number,
): Cut<H> | undefined {
  if (hosts.length < 2) return undefined
  const some = drawn(hosts, choices, size)
  return cutBetween([some, without(hosts, some)])
}

/** `size` different hosts, each set equally likely; the first ones when all choices are 0. */
export function drawn<H>(hosts: readonly H[], choices: ChoiceStream, size: number): readonly H[] {
  const left = [...hosts]
  const some: H[] = []
  while (some.length < size && left.length > 0) some.push(...left.splice(choices.choose(left.length), 1))
  return some
}

function shuffled<H>(hosts: readonly H[], choices: ChoiceStream): readonly H[] {
  return drawn(hosts, choices, hosts.length)
}

function without<H>(hosts: readonly H[], some: readonly H[]): readonly H[] {
  return hosts.filter((host) => !some.includes(host))
}

function namesOf(hosts: readonly PartitionHost[]): string {
  return hosts.map(({ name }) => name).join(', ')
}
