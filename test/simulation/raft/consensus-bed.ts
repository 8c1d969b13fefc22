/**
 * Consensus on every node of a simulated cluster: opened in each life of each node, watched by a `RaftTruth` for every group,
 * and mended as an operator would: a node whose own records are damaged beyond repair gets an empty disk.
 */
import type { ClusterNode } from '@understudy/cluster'
import type { SimulatedNode, World } from '@understudy/cluster/simulation'
import { openConsensus } from '@understudy/protocols'
import { isActorError } from '@understudy/runtime'
import type { SimulatedProcess } from '@understudy/runtime/simulation'
import type { Consensus, RaftObserver } from './protocols.ts'
import { RaftTruth, truthTags } from './raft-truth.ts'

/** Where the host keeps its store, below the node's own directory. */
export const consensusDirectory = 'data/consensus'

export const bedTags: readonly string[] = [
  ...truthTags,
  ...['store-failed', 'corrupt-record', 'wiped', 'flipped', 'host-restarted', 'open-retried'],
]

/** One life of consensus on one node. */
export interface BedLife {
  readonly name: string
  readonly node: ClusterNode
  readonly process: SimulatedProcess
  readonly consensus: Consensus
  readonly observer: (group: string) => RaftObserver
}

export interface BedOptions {
  /** Names of the groups that are watched. */
  readonly groups: readonly string[]
  /** Opens what this life is to have. Rejections are dealt with here. */
  readonly open: (life: BedLife) => Promise<void>
  readonly tags: readonly string[]
  /** Nodes without consensus. @default none */
  readonly without?: readonly string[] | undefined
  /** Disks that may be damaged or emptied. @default a minority */
  readonly harmedMax?: number | undefined
}

/** The shape of a simulated disk's directory that is looked into. */
interface Directory {
  readonly name: string
  apply: (changes: ReadonlyMap<string, Uint8Array | undefined>, isLie: boolean) => void
}

type FlippedDirectory = ReturnType<SimulatedNode['machine']['disk']['controls']['directories']>[number]

const corrupt = 'RUNTIME_STORE_CORRUPT'

export class ConsensusBed {
  readonly world: World
  readonly #options: BedOptions
  readonly #tags: ReadonlySet<string>
  readonly #truths = new Map<string, RaftTruth>()
  readonly #known = new Map<string, ClusterNode>()
  readonly #lives = new Map<string, BedLife>()
  readonly #watched = new Set<Directory>()
  /** Machines whose disks were damaged or emptied: a minority, for good. */
  readonly #harmed = new Set<string>()
  /** Records that are damaged, by node. */
  readonly #flipped = new Set<string>()
  readonly #harmedMax: number

  constructor(world: World, options: BedOptions) {
    this.world = world
    this.#options = options
    this.#tags = new Set(options.tags)
    this.#harmedMax = options.harmedMax ?? Math.max(1, Math.ceil(world.nodes.length / 2) - 1)
    for (const group of options.groups) {
      this.#truths.set(group, new RaftTruth(world.simulation, group, (tag) => this.met(tag)))
    }
    world.invariant('consensus-is-opened', () => this.#look())
  }

  met(tag: string): void {
    if (this.#tags.has(tag)) this.world.sometimes(tag)
  }

  /** @throws {Error} for a group that is not watched */
  truth(group: string): RaftTruth {
    const truth = this.#truths.get(group)
    if (truth === undefined) throw new Error(`Group "${group}" is not watched`)
    return truth
  }

  /** The life that runs on that node, once its consensus is open. */
  life(name: string): BedLife | undefined {
    const life = this.#lives.get(name)
    return life?.process.isAlive === true ? life : undefined
  }

  // ---- Damage --------------------------------------------------------------------------------------------------

  /** Whether that machine's disk may lose what it promised: only a minority's ever does. */
  mayHarm(name: string): boolean {
    return this.#harmed.has(name) || this.#harmed.size < this.#harmedMax
  }

  /** Ends the node and flips a bit of what consensus keeps there; it starts again soon. False: there was nothing. */
  flip(place: SimulatedNode): boolean {
    const { world } = this
    const directory = place.machine.disk.controls
      .directories()
      .find(({ name }) => name === consensusDirectory)
    if (directory === undefined || directory.size === 0 || !this.mayHarm(place.name)) return false
    const entry = this.#drawEntry(directory)
    // The same bit twice would mend it behind everybody's back.
    if (entry === undefined || this.#flipped.has(`${place.name} ${entry.key}`)) return false
    this.#harmed.add(place.name)
    place.kill()
    const bit = world.choose(32 + 8 * entry.value.byteLength, 'scenario/flip-bit')
    // What was under way when it was killed may be gone from the disk, and with it this record, or its longer form.
    if (bit < 32 + 8 * valueBytes(directory, entry.key)) {
      this.#flipped.add(`${place.name} ${entry.key}`)
      place.machine.disk.controls.flip(consensusDirectory, entry.key, bit)
    }
    world.simulation.fault('store-flip', `bit ${bit} of "${entry.key}"`, place.name)
    this.met('flipped')
    this.restartLater(place)
    return true
  }

  /** Any record, or one of a log: there are few of those, and they can be had again from others. */
  #drawEntry(directory: FlippedDirectory): { readonly key: string; readonly value: Uint8Array } | undefined {
    const { world } = this
    if (world.choose(2, 'scenario/flip-log') === 1) {
      const all = Array.from({ length: directory.size }, (_, at) => directory.entryAt(at))
      const ofLog = all.filter((entry) => entry?.key.includes('/raft/log/') === true)
      const drawn = ofLog[world.choose(ofLog.length, 'scenario/flip-log-entry')]
      if (drawn !== undefined) return drawn
    }
    return directory.entryAt(world.choose(directory.size, 'scenario/flip-entry'))
  }

  /** Ends the node and empties what consensus keeps there; it starts again soon, as another member. */
  wipe(place: SimulatedNode): boolean {
    const { controls } = place.machine.disk
    const isThere = controls.directories().some(({ name, size }) => name === consensusDirectory && size > 0)
    if (!isThere || !this.mayHarm(place.name)) return false
    this.#harmed.add(place.name)
    place.kill()
    controls.wipe(consensusDirectory)
    this.world.simulation.fault('store-wipe', `"${consensusDirectory}"`, place.name)
    this.met('wiped')
    this.restartLater(place)
    return true
  }

  /** Ends the node at one of its next `effects` writes and sends; it starts again soon, or `downMs` later. */
  killWithin(place: SimulatedNode, effects: number, label: string, downMs?: number): void {
    const { process: life } = place
    if (life?.isAlive !== true) return
    life.killAtEffect(1 + this.world.choose(effects, label))
    life.onKill(() => {
      if (!this.world.simulation.isOver) this.restartLater(place, downMs)
    })
  }

  /** Nothing goes between that node and the others for some seconds: what it does there is its own. */
  async isolate(place: SimulatedNode): Promise<void> {
    const { world } = this
    const others = world.nodes.filter((other) => other !== place)
    const undos = others.flatMap(({ name }) => [
      world.network.clog(name, place.name),
      world.network.clog(place.name, name),
    ])
    await world.sleep([1_000, 3_000, 6_000][world.choose(3, 'scenario/isolated')] ?? 1_000)
    for (const undo of undos) undo()
  }

  restartLater(place: SimulatedNode, downMs?: number): void {
    const { simulation } = this.world
    const ms = downMs ?? [100, 500, 2_000, 8_000][this.world.choose(4, 'scenario/down')] ?? 100
    simulation.at(simulation.nowMs + ms, undefined, 'restart', place.restart)
  }

  /** Starts nodes again that have given themselves up: a disk that failed took them their next life. */
  restartZombies(): void {
    for (const place of this.world.nodes) {
      const isZombie = place.process?.logged.some(
        ({ message }) => message === 'there is no next life of this node',
      )
      if (isZombie !== true || !place.isUp) continue
      place.kill()
      this.restartLater(place)
    }
  }

  // ---- Lives ---------------------------------------------------------------------------------------------------

  #look(): void {
    for (const place of this.world.nodes) {
      if (!place.isUp || this.#known.get(place.name) === place.node) continue
      const { node, process } = place
      this.#known.set(place.name, node)
      if (process === undefined || this.#options.without?.includes(place.name) === true) continue
      this.#listen(node, place)
      const { simulation } = this.world
      simulation.at(simulation.nowMs, process, 'open-consensus', () => void this.#open(place, node, process))
    }
  }

  #listen(node: ClusterNode, place: SimulatedNode): void {
    const seen = ({ path, error }: { readonly path: string; readonly error: Error | undefined }): void => {
      if (!path.startsWith('/system/') || place.process?.isAlive !== true) return
      if (path === '/system/consensus') this.met('host-restarted')
      const cause = storeError(error)
      if (cause !== undefined) {
        this.met('store-failed')
        // The host tries for ever, and what it needs is not there.
        if (cause.code === corrupt && place.process !== undefined) this.ended(place, place.process, cause)
        return
      }
      this.world.simulation.fail(
        'no-crash-but-of-a-disk',
        `${path} on "${place.name}": ${error?.stack ?? 'it stopped'}`,
      )
    }
    node.system.events.on('actor-restarted', seen)
    node.system.events.on('actor-failed', seen)
  }

  async #open(place: SimulatedNode, node: ClusterNode, process: SimulatedProcess): Promise<void> {
    try {
      const consensus = await this.#openConsensus(place, node, process)
      const life: BedLife = {
        name: place.name,
        node,
        process,
        consensus,
        observer: (group) => this.truth(group).observer(place.name, process),
      }
      this.#lives.set(place.name, life)
      await this.#options.open(life)
    } catch (error) {
      this.ended(place, process, error)
    }
  }

  async #openConsensus(
    place: SimulatedNode,
    node: ClusterNode,
    process: SimulatedProcess,
  ): Promise<Consensus> {
    for (;;) {
      try {
        // Between the node's own start and this no disk would ever fail by chance.
        if (this.#tags.has('open-retried') && this.world.chance(0.03, 'scenario/open-fails'))
          place.machine.disk.controls.failReads(1)
        const opening = openConsensus(node)
        // The directory is there from the first call on, and nothing is written before the next step.
        this.#watch(place)
        return await opening
      } catch (error) {
        const { code = corrupt } = storeError(error) ?? {}
        if (code === corrupt) throw error
        this.met('open-retried')
        await this.#pause(500, process)
      }
    }
  }

  #pause(ms: number, process: SimulatedProcess): Promise<void> {
    const { simulation } = this.world
    return new Promise((resolve) => simulation.at(simulation.nowMs + ms, process, 'pause', resolve))
  }

  #watch(place: SimulatedNode): void {
    const { name, machine } = place
    const found = machine.disk.controls.directories().find((one) => one.name === consensusDirectory)
    if (found === undefined) return
    const directory = found as unknown as Directory
    if (this.#watched.has(directory)) return
    this.#watched.add(directory)
    const apply = directory.apply.bind(directory)
    directory.apply = (changes, isLie) => {
      apply(changes, isLie)
      for (const [group, truth] of this.#truths) {
        const prefix = `group/${group}/raft/`
        const own = [...changes].filter(([key]) => key.startsWith(prefix))
        if (own.length > 0)
          truth.written(name, new Map(own.map(([key, value]) => [key.slice(prefix.length), value])))
      }
    }
  }

  /** A group is over on that node although nobody closed it, or could not be opened. */
  ended(place: SimulatedNode, process: SimulatedProcess, error: unknown): void {
    if (!process.isAlive) return
    const code = storeError(error)?.code ?? (isActorError(error) ? error.code : '')
    // The node is being shut down.
    if (code === 'RUNTIME_STOPPED' || code === 'PROTOCOLS_GROUP_CLOSED') return
    const what = `"${place.name}": ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`
    if (code !== corrupt || !this.#harmed.has(place.name)) {
      this.world.simulation.fail('groups-stay-open', what)
      return
    }
    this.met('corrupt-record')
    this.world.note(`corrupt beyond repair, and replaced by an empty disk`, place.name)
    process.kill()
    place.machine.disk.controls.wipe(consensusDirectory)
    this.restartLater(place)
  }
}

/** How long the value of a key is; shorter than any bit when there is no such key. */
function valueBytes(directory: FlippedDirectory, key: string): number {
  for (let at = 0; at < directory.size; at++) {
    const entry = directory.entryAt(at)
    if (entry?.key === key) return entry.value.byteLength
  }
  return -4
}

/** The failure of a disk that is behind an error, however often it was wrapped. */
function storeError(error: unknown): { readonly code: string } | undefined {
  for (let one = error; one instanceof Error; one = one.cause) {
    if (isActorError(one) && one.code.startsWith('RUNTIME_STORE_')) return one
  }
  return undefined
}
