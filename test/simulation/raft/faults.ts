/**
 * Which faults the scenarios of consensus meet. Not `store-lying` nor `store-old`: a disk that forgets what it acknowledged
 * without a trace takes a member's vote and its share of every majority with it; Raft cannot bear that on any one disk.
 * `store-flip` and `store-wipe`, which leave traces, the scenarios do themselves, on a minority of disks.
 */
import { hostFaults, wireFaults } from '../remote/fault-list.ts'

export const raftFaults: readonly string[] = [
  ...wireFaults,
  ...hostFaults,
  ...['message-loss', 'message-duplicate', 'message-replay', 'message-reorder'],
  ...['store-slow', 'store-eio', 'store-full'],
]

/** So many kinds at once: most rest in most seeds, or nobody would ever reach anybody. */
export const raftChances: readonly number[] = Object.freeze([0, 0, 0, 0.004, 0.03])
