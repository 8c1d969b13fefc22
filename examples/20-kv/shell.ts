/** Carries out what was typed, and says how it went. */
import { rm } from 'node:fs/promises'
import { setTimeout as pause } from 'node:timers/promises'
import type { ClusterNode } from '@understudy/cluster'
import {
  kvClient,
  type KvClient,
  type KvEntry,
  type KvLease,
  type KvOperationResult,
  type KvWatch,
} from '@understudy/protocols'
import { isActorError } from '@understudy/runtime'
import { CommandError, parseCommand, usages, type Command, type LeaseWish } from './command.ts'
import type { Fleet, FleetNode } from './fleet.ts'
import { Steering, steeringPath } from './steering.ts'
import type { Terminal } from './terminal.ts'

type Of<T extends Command['type']> = Command & { readonly type: T }

/** A lease has a client of its own: who closes it stops keeping the lease alive, and does not end it. */
interface HeldLease {
  readonly lease: KvLease
  readonly client: KvClient
}

const text = new TextDecoder()

export class Shell {
  readonly #node: ClusterNode
  readonly #fleet: Fleet
  readonly #terminal: Terminal
  readonly #open: (servers?: readonly string[]) => KvClient
  readonly #client: KvClient
  readonly #watches = new Map<number, KvWatch>()
  #watchCount = 0
  readonly #leases = new Map<number, HeldLease>()

  constructor(node: ClusterNode, fleet: Fleet, terminal: Terminal, timeoutMs: number) {
    this.#node = node
    this.#fleet = fleet
    this.#terminal = terminal
    const all = fleet.nodes.map(({ name }) => name)
    // A node that stands still is given up after a second, and the next one asked.
    this.#open = (servers = all) => kvClient(node, { servers, timeoutMs, attemptMs: 1_000 })
    this.#client = this.#open()
  }

  /** Carries out one line. False: it was none, or it failed; 'quit': it said so. */
  async run(line: string): Promise<boolean | 'quit'> {
    try {
      const command = parseCommand(line)
      if (command === undefined) return true
      if (command.type === 'quit') return 'quit'
      this.#terminal.print(await this.#carryOut(command))
      return true
    } catch (error) {
      this.#terminal.print(failureText(error))
      return false
    }
  }

  async close(): Promise<void> {
    const held = [...this.#leases.values()]
    this.#leases.clear()
    for (const { client } of held) await client.close()
    await this.#client.close()
  }

  // ---- Commands ------------------------------------------------------------------------------------------------

  #carryOut(command: Exclude<Command, { readonly type: 'quit' }>): string | Promise<string> {
    switch (command.type) {
      case 'put':
        return this.#put(command)
      case 'get':
        return this.#get(command)
      case 'list':
        return this.#list(command)
      case 'delete':
        return this.#delete(command)
      case 'cas':
        return this.#compareAndSet(command)
      case 'transact':
        return this.#transact(command)
      case 'lease':
        return this.#grant(command.seconds)
      case 'leases':
        return this.#listLeases()
      case 'lease-drop':
        return this.#dropLease(command.id)
      case 'lease-revoke':
        return this.#revokeLease(command.id)
      case 'watch':
        return this.#watch(command)
      case 'unwatch':
        return this.#unwatch(command.number)
      case 'compact':
        return this.#compact(command.revision)
      case 'status':
        return this.#status()
      case 'kill':
        return this.#signal(command.node, 'SIGKILL')
      case 'stop':
        return this.#signal(command.node, 'SIGSTOP')
      case 'cont':
        return this.#signal(command.node, 'SIGCONT')
      case 'wipe':
        return this.#wipe(command.node)
      case 'transfer':
        return this.#transfer(command.node)
      case 'wait':
        return pause(command.seconds * 1_000, 'waited')
      case 'help':
        return helpText()
      default:
        command satisfies never
        return ''
    }
  }

  async #put({ key, value, lease }: Of<'put'>): Promise<string> {
    const id = lease === undefined ? undefined : await this.#leaseFor(lease)
    const { revision } = await this.#client.put(key, value, { lease: id })
    return `revision ${revision}${id === undefined ? '' : `, with lease #${id}`}`
  }

  async #get({ key, revision, local }: Of<'get'>): Promise<string> {
    const entry = await this.#reading(local, (client, consistency) =>
      client.get(key, { revision, consistency }),
    )
    return entry === undefined ? `${shown(key)} is not there` : entryText(entry)
  }

  async #list({ prefix, revision, local }: Of<'list'>): Promise<string> {
    const all = await this.#reading(local, (client, consistency) =>
      client.range({ prefix }, { revision, consistency }),
    )
    return [
      ...all.entries.map(entryText),
      `${counted(all.count, 'key')} at revision ${revision ?? all.revision}`,
    ].join('\n')
  }

  /** By the leader and a majority, or from one node alone. */
  async #reading<T>(
    local: string | undefined,
    read: (client: KvClient, consistency: 'linearizable' | 'local') => Promise<T>,
  ): Promise<T> {
    if (local === undefined) return read(this.#client, 'linearizable')
    await using client = this.#open([this.#fleet.find(local).name])
    return await read(client, 'local')
  }

  async #delete({ keys }: Of<'delete'>): Promise<string> {
    const { deleted, revision } = await this.#client.delete(keys)
    return deleted === 0 ? 'nothing to delete' : `${counted(deleted, 'key')} deleted, revision ${revision}`
  }

  async #compareAndSet({ key, expected, value }: Of<'cas'>): Promise<string> {
    const wanted = expected === undefined ? undefined : { value: expected }
    const { ok, revision, current } = await this.#client.compareAndSet(key, wanted, value)
    if (ok) return `set, revision ${revision}`
    return `not set: ${current === undefined ? `${shown(key)} is not there` : entryText(current)}`
  }

  async #transact({ transaction }: Of<'transact'>): Promise<string> {
    const { succeeded, results, revision } = await this.#client.transact(transaction)
    const way = succeeded ? 'then' : 'else'
    return [`${way}, revision ${revision}`, ...results.map(resultText)].join('\n  ')
  }

  async #compact(revision: number): Promise<string> {
    await this.#client.compact(revision)
    return `what was before revision ${revision} is forgotten`
  }

  // ---- Leases --------------------------------------------------------------------------------------------------

  /** The id of a lease for one put. One of so many seconds is granted and left alone, so that its time runs out. */
  async #leaseFor(wish: LeaseWish): Promise<number> {
    if ('id' in wish) return wish.id
    await using client = this.#open()
    const { id } = await client.lease({ ttlMs: Math.ceil(wish.seconds * 1_000) })
    return id
  }

  async #grant(seconds: number): Promise<string> {
    const client = this.#open()
    try {
      const lease = await client.lease({ ttlMs: Math.ceil(seconds * 1_000) })
      this.#leases.set(lease.id, { lease, client })
      lease.signal.addEventListener('abort', () => {
        // Unless it was let go here.
        if (!this.#leases.delete(lease.id)) return
        this.#terminal.report((lease.signal.reason as Error).message)
        void client.close()
      })
      return `lease #${lease.id}, kept alive while this prompt lives; for a key of it: put KEY VALUE lease #${lease.id}`
    } catch (error) {
      await client.close()
      throw error
    }
  }

  #listLeases(): string {
    const all = [...this.#leases.values()].map(({ lease }) => `#${lease.id}, ${lease.ttlMs / 1_000} s`)
    return all.length === 0 ? 'no leases' : all.join('\n')
  }

  async #dropLease(id: number): Promise<string> {
    const { lease, client } = this.#takeLease(id)
    await client.close()
    return `lease #${id} is not kept alive any more: it ends within ${lease.ttlMs / 1_000} s, and its keys with it`
  }

  async #revokeLease(id: number): Promise<string> {
    const { lease, client } = this.#takeLease(id)
    try {
      await lease.revoke()
    } finally {
      await client.close()
    }
    return `lease #${id} has ended, and its keys with it`
  }

  #takeLease(id: number): HeldLease {
    const held = this.#leases.get(id)
    if (held === undefined) throw new CommandError(`This prompt keeps no lease #${id} alive; see: leases`)
    this.#leases.delete(id)
    return held
  }

  // ---- Watches -------------------------------------------------------------------------------------------------

  async #watch({ prefix, from }: Of<'watch'>): Promise<string> {
    // What is put once this has answered is seen.
    const revision = from ?? (await this.#client.range({ prefix }, { countOnly: true })).revision + 1
    const watch = this.#client.watch({ prefix }, { revision })
    const number = ++this.#watchCount
    this.#watches.set(number, watch)
    void this.#show(number, watch)
    return `watch ${number}: every key that begins with ${shown(prefix)}, from revision ${revision} on`
  }

  async #show(number: number, watch: KvWatch): Promise<void> {
    try {
      for await (const { events } of watch) {
        for (const { type, key, entry, revision } of events) {
          const what =
            type === 'put' && entry !== undefined
              ? `${shown(key)} = ${valueText(entry)}`
              : `${shown(key)} deleted`
          this.#terminal.print(`  watch ${number}: ${what}  (revision ${revision})`)
        }
      }
    } catch (error) {
      if (!isActorError(error, 'KV_CLIENT_CLOSED')) {
        this.#terminal.report(`watch ${number} has ended: ${(error as Error).message}`)
      }
    }
    this.#watches.delete(number)
  }

  #unwatch(number: number | undefined): string {
    const chosen =
      number === undefined ? [...this.#watches] : [...this.#watches].filter(([one]) => one === number)
    if (number !== undefined && chosen.length === 0) throw new CommandError(`There is no watch ${number}`)
    for (const [, watch] of chosen) watch.close()
    return `${counted(chosen.length, 'watch', 'watches')} ended`
  }

  // ---- Nodes ---------------------------------------------------------------------------------------------------

  #signal(name: string, signal: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT'): string {
    const node = this.#fleet.find(name)
    if (node.state === 'down')
      throw new CommandError(`Node ${node.name} has no process now; it starts again by itself`)
    process.kill(node.pid, signal)
    if (signal === 'SIGSTOP') node.state = 'stopped'
    if (signal === 'SIGCONT' && node.state === 'stopped') node.state = 'up'
    return `${signal} to node ${node.name}, process ${node.pid}`
  }

  async #wipe(name: string): Promise<string> {
    const node = this.#fleet.find(name)
    await rm(node.directory, { recursive: true, force: true, maxRetries: 5 })
    return `deleted ${node.directory} of node ${node.name}${node.state === 'down' ? '' : ', which runs'}`
  }

  async #transfer(name: string): Promise<string> {
    const to = this.#fleet.find(name).name
    const { leader } = this.#fleet
    if (leader === '') throw new CommandError('No leader is known now; wait a moment')
    if (leader === to) return `node ${to} leads already`
    const why = await this.#node
      .ref(Steering, leader, steeringPath)
      .ask({ type: 'transfer', to }, { timeoutMs: 10_000 })
    if (why !== '') throw new CommandError(why)
    return `node ${to} leads now`
  }

  async #status(): Promise<string> {
    const rows = await Promise.all(this.#fleet.nodes.map((node) => this.#statusRow(node)))
    const head = ['node', 'pid', 'role', 'term', 'leader', 'commit', 'applied', 'members', 'data']
    return tableText([head, ...rows])
  }

  async #statusRow({ name, pid, state, directory }: FleetNode): Promise<readonly string[]> {
    const unknown = (role: string): readonly string[] => [
      name,
      String(pid),
      role,
      '',
      '',
      '',
      '',
      '',
      directory,
    ]
    if (state !== 'up') return unknown(state)
    try {
      const { group } = (await this.#client.status(name, { timeoutMs: 1_500 })) as unknown as ServerStatus
      const members = group.members.map(({ node, role }) => `${marks[role]}${node}`).join(' ')
      const numbers = [group.commit, group.applied].map(String)
      return [
        name,
        String(pid),
        group.role,
        String(group.term),
        group.leader ?? '-',
        ...numbers,
        members,
        directory,
      ]
    } catch (error) {
      if (!isActorError(error)) throw error
      return unknown('no answer')
    }
  }
}

/** What a server says of itself. */
interface ServerStatus {
  readonly group: {
    readonly role: string
    readonly term: number
    readonly leader: string | undefined
    readonly commit: number
    readonly applied: number
    readonly members: readonly { readonly node: string; readonly role: 'voter' | 'learner' | 'leaving' }[]
  }
}

const marks = { voter: '', learner: '+', leaving: '-' } as const

// ---- Texts -------------------------------------------------------------------------------------------------------

/** Nothing was done, or nobody knows: the two are never mixed up. */
function failureText(error: unknown): string {
  if (error instanceof CommandError || error instanceof RangeError) return error.message
  if (!isActorError(error)) return `FAILED: ${error instanceof Error ? error.message : String(error)}`
  const isUnknown = error.code === 'PROTOCOLS_OUTCOME_UNKNOWN'
  return `${isUnknown ? 'OUTCOME UNKNOWN' : 'NOT DONE'}: ${error.message} [${error.code}]`
}

function entryText(entry: KvEntry): string {
  const { key, modRevision, version, lease } = entry
  const more = `revision ${modRevision}, version ${version}${lease === 0 ? '' : `, lease #${lease}`}`
  return `${shown(key)} = ${valueText(entry)}  (${more})`
}

function resultText(result: KvOperationResult): string {
  switch (result.type) {
    case 'put':
      return 'put'
    case 'delete':
      return `${counted(result.deleted, 'key')} deleted`
    case 'get':
      return result.entries.length === 0 ? 'not there' : result.entries.map(entryText).join('\n  ')
    case 'transact':
      return result.succeeded ? 'then' : 'else'
    default:
      result satisfies never
      return ''
  }
}

function valueText({ value }: KvEntry): string {
  return shown(text.decode(value))
}

/** As it has to be typed; what a terminal might take for an order is escaped. */
function shown(word: string): string {
  return /^[^\s;"*#\\\p{Cc}]+$/u.test(word) ? word : JSON.stringify(word).replaceAll(/\p{Cc}/gu, escaped)
}

/** JSON leaves the controls from U+007F on as they are. */
function escaped(control: string): string {
  return `\\u${control.charCodeAt(0).toString(16).padStart(4, '0')}`
}

function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`
}

function tableText(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  )
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

function helpText(): string {
  const rows = Object.values(usages).map(([usage, meaning]) => {
    const wrapped = meaning.replaceAll('\n', `\n${' '.repeat(6)}`)
    return meaning === '' ? `  ${usage}` : `  ${usage}\n      ${wrapped}`
  })
  return [...rows, 'Words with spaces stand in "...".'].join('\n')
}
