/** A log to feed a lock table with, and the commands for it. */
import {
  BatchWriter,
  ByteReader,
  codec,
  LockMachine,
  type AcquireCommand,
  type LockAnswer,
  type LockCommand,
  type LockGrant,
  type LockRequest,
  type LockResult,
} from './machine-source.ts'

/** Feeds a machine as a log does. */
export class LockLog {
  machine: LockMachine
  index = 0
  term = 1
  timeMs = 0
  /** Since `takeGrants`. */
  grants: LockGrant[] = []
  refused: LockRequest[] = []
  over: number[] = []
  changed: string[] = []

  constructor(machine: LockMachine = new LockMachine()) {
    this.machine = machine
    this.become(machine)
  }

  become(machine: LockMachine): void {
    this.machine = machine
    machine.onGrant((grants) => void this.grants.push(...grants))
    machine.onRefused((requests) => void this.refused.push(...requests))
    machine.onSessionOver((sessions) => void this.over.push(...sessions))
    machine.onChange((names) => void this.changed.push(...(names ?? ['(any)'])))
  }

  applyBytes(data: Uint8Array): LockResult {
    return this.machine.apply({ index: ++this.index, term: this.term, timeMs: this.timeMs, data })
  }

  apply(command: LockCommand): LockResult {
    return this.applyBytes(codec.encodeLockCommand(command))
  }

  /** The answer, which must not be a refusal. */
  answer(command: LockCommand): LockAnswer {
    const result = this.apply(command)
    if (!result.ok) throw new Error(`Refused: ${result.error.code} ${result.error.message}`)
    return result.result
  }

  /** The code of the refusal, or the type of the answer. */
  codeOf(command: LockCommand): string {
    const result = this.apply(command)
    return result.ok ? result.result.type : result.error.code
  }

  open(ttlMs = 1_000, label = ''): number {
    const answer = this.answer({ type: 'open-session', ttlMs, label })
    return answer.type === 'session' ? answer.session : 0
  }

  acquire(session: number, request: number, name: string, fields: Partial<AcquireCommand> = {}): LockAnswer {
    return this.answer(acquire(session, request, name, fields))
  }

  release(session: number, request: number): LockAnswer {
    return this.answer({ type: 'release', session, request })
  }

  takeGrants(): readonly LockGrant[] {
    const { grants } = this
    this.grants = []
    return grants
  }
}

export function acquire(
  session: number,
  request: number,
  name = 'x',
  fields: Partial<AcquireCommand> = {},
): AcquireCommand {
  return {
    type: 'acquire',
    session,
    request,
    name,
    kind: 'mutex',
    permits: 1,
    capacity: 0,
    wait: true,
    owner: '',
    reentrant: false,
    data: '',
    ...fields,
  }
}

export function batchOf(commands: readonly LockCommand[]): Uint8Array {
  const writer = new BatchWriter(codec.batchTag, 256)
  for (const command of commands) writer.add(codec.writeLockCommand, command)
  return writer.take()
}

export function resultsOf(result: LockResult): readonly LockResult[] {
  if (!result.ok || result.result.type !== 'batch') return [result]
  const reader = new ByteReader(result.result.answers)
  const results: LockResult[] = []
  while (!reader.isAtEnd) results.push(codec.readLockResult(reader))
  return results
}

export async function* chunksOf(machine: LockMachine, chunkBytes?: number): AsyncGenerator<Uint8Array> {
  const walk = machine.snapshot(chunkBytes)
  for (let next = walk.next(); next.done !== true; next = walk.next()) yield next.value
}

export async function* each(chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks
}
