/** Consensus hosts on virtual nodes, with members that write down what happens to them. */
import type { ClusterNode } from '@understudy/cluster'
import { memoryStore, StoreError, type Store } from '@understudy/runtime'
import { sourceModule } from '../../support/source-module.ts'
import type { StartOptions, VirtualCluster } from '../../support/virtual-cluster.ts'

type HostModule = typeof import('../../../packages/protocols/src/host/consensus-host.ts')
export type Consensus = import('../../../packages/protocols/src/host/consensus-host.ts').Consensus
export type HostedMember = import('../../../packages/protocols/src/host/hosted-member.ts').HostedMember
export type MemberPort = import('../../../packages/protocols/src/host/hosted-member.ts').MemberPort
export type HostLane = import('../../../packages/protocols/src/host/hosted-member.ts').HostLane

export const { openConsensus } = await sourceModule<HostModule>('protocols', 'host/consensus-host')

/** A member that does nothing but write down what it is told. */
export class NotingMember implements HostedMember {
  readonly port: MemberPort
  readonly lines: string[]
  dueMs: number | undefined
  onReceive: (from: string, payload: unknown) => void = () => undefined
  onTick: () => void = () => undefined
  onUnreachable: (node: string) => void = () => undefined

  constructor(port: MemberPort, lines: string[]) {
    this.port = port
    this.lines = lines
  }

  receive(from: string, store: string, payload: unknown): void {
    this.lines.push(`${from}${store === '' ? '?' : ''} ${String(payload)}`)
    this.onReceive(from, payload)
  }

  tick(): void {
    this.lines.push(`tick ${this.port.nowMs()}`)
    this.dueMs = undefined
    this.onTick()
  }

  nextDeadlineMs(): number | undefined {
    return this.dueMs
  }

  unreachable(node: string): void {
    this.lines.push(`unreachable ${node}`)
    this.onUnreachable(node)
  }

  watched(node: string): void {
    this.lines.push(`watched ${node}`)
  }

  close(reason: Error): void {
    const { code } = reason as Error & { readonly code?: string }
    this.lines.push(`close ${code ?? 'restart'}`)
  }
}

export interface Opened {
  readonly lines: string[]
  /** Of the life of the host that is. */
  readonly member: () => NotingMember
  /** How often `open` was called. */
  readonly lives: () => number
  readonly close: () => Promise<void>
}

/** Opens a group whose members note. */
export async function openNoting(
  cluster: VirtualCluster,
  consensus: Consensus,
  name: string,
  prepare: (member: NotingMember) => void = () => undefined,
): Promise<Opened> {
  const lines: string[] = []
  let member: NotingMember | undefined
  let lives = 0
  const opened = await cluster.result(
    consensus.openGroup(
      name,
      async (port) => {
        lives++
        member = new NotingMember(port, lines)
        prepare(member)
        return member
      },
      (error) => lines.push(`ended ${(error as Error & { readonly code?: string }).code ?? error.message}`),
    ),
  )
  return {
    lines,
    member: () => member as NotingMember,
    lives: () => lives,
    close: opened.close,
  }
}

/** Runs `act` in a turn of the member's host, and lets what follows come to rest. */
export async function inTurn(
  cluster: VirtualCluster,
  { port }: NotingMember,
  act: () => void,
): Promise<void> {
  port.later(act)
  await cluster.platform.settle()
}

export async function startNodes(
  cluster: VirtualCluster,
  names: readonly string[],
  options: StartOptions = {},
): Promise<readonly ClusterNode[]> {
  const nodes: ClusterNode[] = []
  for (const name of names) nodes.push(await cluster.start(name, { seeds: names, ...options }))
  await cluster.result(Promise.all(nodes.map((node) => node.whenMembers(names.length))))
  return nodes
}

/** A disk that outlives its stores, as a directory does, and can be full. */
export class FlakyDisk {
  readonly #disk = memoryStore()
  #fail: ((error: StoreError) => void) | undefined
  isFull = false
  isOpen = false
  opens = 0

  readonly open = async (): Promise<Store> => {
    if (this.isOpen) throw new Error('The store is held by somebody else')
    this.isOpen = true
    this.opens++
    let fail: (error: StoreError) => void = () => undefined
    const failed = new Promise<StoreError>((resolve) => (fail = resolve))
    this.#fail = fail
    return this.#view(this.#disk.scope('disk'), failed, true)
  }

  /** As when its directory is deleted: no write has met it. */
  break(): void {
    this.#fail?.(new StoreError('RUNTIME_STORE_FAILED', 'The directory is gone'))
  }

  #view(inner: Store, failed: Promise<StoreError>, isWhole: boolean): Store {
    return {
      ...{ get: inner.get, range: inner.range, failed },
      write: async (batch) => {
        if (!this.isFull) return inner.write(batch)
        const error = new StoreError('RUNTIME_STORE_FULL', 'ENOSPC')
        this.#fail?.(error)
        throw error
      },
      scope: (prefix) => this.#view(inner.scope(prefix), failed, false),
      close: async () => {
        if (!isWhole) return
        await Promise.resolve()
        this.isOpen = false
      },
    }
  }
}
