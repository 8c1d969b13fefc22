/**
 * A member of the bare replicated log, in a process of its own: what replication and durability cost when there is nothing
 * else. No elections, no terms, no checksums, nothing is applied, and what is missed is never repeated.
 *
 * The leader gathers what clients send while its last batch is being written; each batch is one write and one fsync here,
 * and one frame to each follower, which does the same with it. An entry counts when it is durable on two of the three.
 */
import { once } from 'node:events'
import { fdatasync, mkdirSync, openSync, writev } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { WebSocket, WebSocketServer } from 'ws'
import { bareSocketOptions, type BareCommand, type BareReport } from './bare-words.ts'

async function serve({ directory, followers }: BareCommand): Promise<number> {
  const log = new DurableFile(join(directory, 'log'))
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, ...bareSocketOptions })
  await once(server, 'listening')
  if (followers.length === 0) server.on('connection', (leader) => follow(leader, log))
  else {
    const leader = new BareLeader(log, await Promise.all(followers.map(dial)))
    server.on('connection', (client) => leader.serve(client))
  }
  return (server.address() as AddressInfo).port
}

/** Answers each batch with its number, as four bytes, when it is durable. */
function follow(leader: WebSocket, log: DurableFile): void {
  leader.on('message', (batch: Buffer) => {
    log.append([batch], () => leader.send(batch.subarray(0, 4)))
  })
}

async function dial(port: number): Promise<WebSocket> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}`, bareSocketOptions)
  await once(socket, 'open')
  return socket
}

interface Asked {
  readonly client: WebSocket
  /** Number of the newest entry of that client in the batch; the answer says that all up to it are durable. */
  upTo: Buffer
}

interface Batch {
  readonly asked: readonly Asked[]
  /** On how many members it is durable. */
  copies: number
}

class BareLeader {
  readonly #log: DurableFile
  readonly #followers: readonly WebSocket[]
  readonly #batches = new Map<number, Batch>()
  #gathered: Buffer[] = []
  #asked: Asked[] = []
  #isWriting = false
  #lastBatch = 0

  constructor(log: DurableFile, followers: readonly WebSocket[]) {
    this.#log = log
    this.#followers = followers
    for (const follower of followers)
      follower.on('message', (number: Buffer) => this.#durable(number.readUInt32BE(0)))
  }

  /** A client's frame is the number of its newest entry, and the entries. */
  serve(client: WebSocket): void {
    client.on('message', (frame: Buffer) => {
      this.#gathered.push(frame.subarray(4))
      const upTo = frame.subarray(0, 4)
      const known = this.#asked.find((asked) => asked.client === client)
      if (known === undefined) this.#asked.push({ client, upTo })
      else known.upTo = upTo
      if (!this.#isWriting) this.#write()
    })
  }

  #write(): void {
    const number = ++this.#lastBatch
    const head = Buffer.alloc(4)
    head.writeUInt32BE(number, 0)
    const parts = [head, ...this.#gathered]
    const frame = Buffer.concat(parts)
    this.#batches.set(number, { asked: this.#asked, copies: 0 })
    this.#gathered = []
    this.#asked = []
    this.#isWriting = true
    for (const follower of this.#followers) follower.send(frame)
    this.#log.append(parts, () => {
      this.#isWriting = false
      if (this.#gathered.length > 0) this.#write()
      this.#durable(number)
    })
  }

  #durable(number: number): void {
    const batch = this.#batches.get(number)
    if (batch === undefined) return
    batch.copies++
    if (batch.copies === 2) for (const { client, upTo } of batch.asked) client.send(upTo)
    if (batch.copies > this.#followers.length) this.#batches.delete(number)
  }
}

/** Appends in order; while one write runs, the next ones gather. */
class DurableFile {
  readonly #fd: number
  #parts: Buffer[] = []
  #waiting: (() => void)[] = []
  #isBusy = false

  constructor(path: string) {
    this.#fd = openSync(path, 'a')
  }

  append(parts: readonly Buffer[], onDurable: () => void): void {
    this.#parts.push(...parts)
    this.#waiting.push(onDurable)
    if (!this.#isBusy) this.#next()
  }

  #next(): void {
    const parts = this.#parts
    const waiting = this.#waiting
    this.#parts = []
    this.#waiting = []
    this.#isBusy = true
    writev(this.#fd, parts, (writeError) => {
      if (writeError !== null) throw writeError
      fdatasync(this.#fd, (syncError) => {
        if (syncError !== null) throw syncError
        this.#isBusy = false
        if (this.#parts.length > 0) this.#next()
        for (const onDurable of waiting) onDurable()
      })
    })
  }
}

if (process.send !== undefined) {
  process.on('disconnect', () => process.exit(0))
  const [command] = (await once(process, 'message')) as [BareCommand]
  mkdirSync(command.directory, { recursive: true })
  const report: BareReport = { port: await serve(command) }
  process.send(report)
}
