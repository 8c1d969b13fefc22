/** What the scenarios of locks need of the lock table below its API: its codec, its machine. */
import { sourceModule } from '../../support/source-module.ts'

type CodecModule = typeof import('../../../packages/protocols/src/lock/lock-codec.ts')
type BatchModule = typeof import('../../../packages/protocols/src/service/batch.ts')
type BufferModule = typeof import('../../../packages/protocols/src/service/byte-buffer.ts')

export type LockMachine = import('../../../packages/protocols/src/lock/lock-machine.ts').LockMachine
export type LockCommand = import('../../../packages/protocols/src/lock/lock-command.ts').LockCommand
export type LockAnswer = import('../../../packages/protocols/src/lock/lock-command.ts').LockAnswer
export type LockResult = import('../../../packages/protocols/src/lock/lock-command.ts').LockResult

const { batchTag, decodeLockCommand, readLockResult } = await sourceModule<CodecModule>(
  'protocols',
  'lock/lock-codec',
)
const { BatchWalk } = await sourceModule<BatchModule>('protocols', 'service/batch')
const { ByteReader } = await sourceModule<BufferModule>('protocols', 'service/byte-buffer')

/** The commands of an entry, one behind the other. */
export function decodeCommands(data: Uint8Array): readonly LockCommand[] {
  if (data[0] !== batchTag) return [decodeLockCommand(data) as LockCommand]
  const walk = new BatchWalk(1_000_000)
  walk.begin(data)
  const commands: LockCommand[] = []
  while (walk.next()) commands.push(decodeLockCommand(data.subarray(walk.from, walk.to)) as LockCommand)
  return commands
}

/** What was answered to each of `count` commands of an entry. */
export function readAnswers(count: number, result: LockResult): readonly LockResult[] {
  if (!result.ok || result.result.type !== 'batch') return Array.from({ length: count }, () => result)
  const reader = new ByteReader(result.result.answers)
  return Array.from({ length: count }, () => readLockResult(reader))
}
