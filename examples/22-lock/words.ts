/** What the main process and its workers say to each other. */

export interface WorkerSettings {
  readonly name: string
  /** Address of the node that has the lock and the ledgers. */
  readonly seed: string
  readonly secret: string
  readonly leaseMs: number
}

export type WorkerOrder =
  /** Add 1 so often, to the ledger of that path. `pauseAt`: behind the read of that round, ask before going on. */
  | { readonly type: 'work'; readonly ledger: string; readonly rounds: number; readonly pauseAt: number }
  | { readonly type: 'go-on' }

export type WorkerReport =
  | { readonly type: 'ready' }
  /** Between reading and writing. */
  | { readonly type: 'has-read'; readonly value: number; readonly token: number }
  | { readonly type: 'wrote'; readonly value: number; readonly token: number }
  /** A higher token than its own was seen. */
  | { readonly type: 'refused'; readonly token: number; readonly highest: number }
  | { readonly type: 'done'; readonly added: number }
  | { readonly type: 'failed'; readonly why: string }
