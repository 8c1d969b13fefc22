/** Partitions of a scenario's own moment and length, in every shape that the simulator knows. */
import type { World } from '@understudy/cluster/simulation'
import { sourceModule } from '../../support/source-module.ts'

type Partitions = typeof import('../../../packages/cluster/src/simulation/partition.ts')

const { partitionShapes } = await sourceModule<Partitions>('cluster', 'simulation/partition')

export type ShapeName = keyof Partitions['partitionShapes']
interface Host {
  readonly name: string
}
/** From, to: what the first sends does not reach the second. */
export type CutPairs = readonly (readonly [from: Host, to: Host])[]

export const shapeNames = Object.keys(partitionShapes) as readonly ShapeName[]

/** The groups, when nobody of one reaches anybody of another and all within one reach each other. */
export function cleanSides(world: World, pairs: CutPairs): readonly (readonly string[])[] | undefined {
  const isCut = (from: string, to: string): boolean =>
    pairs.some(([a, b]) => a.name === from && b.name === to)
  const names = world.nodes.map(({ name }) => name)
  const sides: string[][] = []
  for (const name of names) {
    const side = sides.find(([first = '']) => !isCut(first, name) && !isCut(name, first))
    if (side === undefined) sides.push([name])
    else side.push(name)
  }
  const isClean = names.every((a) =>
    names.every((b) => a === b || isCut(a, b) !== sides.some((side) => side.includes(a) && side.includes(b))),
  )
  return isClean ? sides : undefined
}

/** A partition of that shape; of a flapping one, the shape is drawn as well. */
export function drawCut(world: World, shape: ShapeName | 'flapping'): CutPairs {
  const choices = world.simulation.choices.stream('scenario/partition')
  const hosts = world.nodes.map(({ name }) => ({ name, zone: `zone-${name}` }))
  const drawn = shape === 'flapping' ? (shapeNames[choices.choose(shapeNames.length)] ?? 'isolate') : shape
  // An assignment may divide nobody.
  const found = partitionShapes[drawn](hosts, choices) ?? partitionShapes.isolate(hosts, choices)
  world.note(`${shape}: ${found?.what}`)
  return found?.pairs ?? []
}

/** Until it is undone. */
export function cut(world: World, pairs: CutPairs): () => void {
  const undos = pairs.map(([a, b]) => world.network.clog(a.name, b.name))
  return () => undos.forEach((undo) => undo())
}

/** In force for one to two seconds, gone for a moment, again and again. */
export function flap(world: World, pairs: CutPairs): () => void {
  const onMs = 1_000 + world.choose(3, 'scenario/flap-on') * 500
  const offMs = [200, 100, 50][world.choose(3, 'scenario/flap-off')] ?? 100
  let isOver = false
  let mend = (): void => undefined
  const begin = (): void => {
    if (isOver) return
    mend = cut(world, pairs)
    world.simulation.at(world.now() + onMs, undefined, 'flap', () => {
      mend()
      world.simulation.at(world.now() + offMs, undefined, 'flap', begin)
    })
  }
  begin()
  return () => {
    isOver = true
    mend()
  }
}
