/** What one run of a simulation is asked for, and what it found. The shrinker, the runner and the reports speak this. */
import type { Choice } from './choice-source.ts'

/** What decides a run. The same input gives the same run, to the byte. */
export interface RunInput {
  readonly seed: string | number
  /** Replays these instead of drawing from the seed; all others are benign. */
  readonly choices?: readonly Choice[] | undefined
  /** Keeps what happened, for people: costs time and memory, changes nothing. @default false */
  readonly trace?: boolean | undefined
}

/** Runs a scenario once. Never rejects for what the scenario did: that is a violation. */
export type Run = (input: RunInput) => Promise<RunResult>

/** A rule that was broken. */
export interface Violation {
  /** The rule's name, such as `mutual-exclusion`. Shrinking keeps it. */
  readonly name: string
  readonly message: string
  readonly step: number
  /** Virtual milliseconds since the start of the run. */
  readonly atMs: number
}

export interface RunStats {
  readonly steps: number
  /** Virtual milliseconds. */
  readonly virtualMs: number
  /** Messages handled by actors. */
  readonly messages: number
  /** Faults that took effect, by kind. */
  readonly faults: Readonly<Record<string, number>>
  /** Tags that `sometimes` reached, sorted. */
  readonly reached: readonly string[]
}

export interface RunResult {
  readonly seed: string
  readonly violation: Violation | undefined
  /** The choices that were not benign. With the seed they are the run. */
  readonly choices: readonly Choice[]
  readonly stats: RunStats
  /** Writes and sends of each machine within `world.operation`: what `crashEverywhere` goes through. */
  readonly effects?: Readonly<Record<string, number>> | undefined
  /** 64 bits over every step, choice and frame, as 16 hexadecimal digits. */
  readonly hash: string
  /** The hash after each `hashBlockSteps` steps: where two runs part. */
  readonly hashBlocks: readonly string[]
  /** What happened, when it was asked for. */
  readonly trace: readonly TraceEvent[]
}

/** Steps per entry of `hashBlocks`. */
export const hashBlockSteps = 1024

/**
 * One thing that happened, for reports and pictures. `lane` is the column of the space-time diagram: a node in a
 * cluster, an actor where there is only one process.
 */
export type TraceEvent =
  /** An actor took a message. `messageId` is the arrow that ends here, when it was seen to be sent. */
  | TraceAt<
      'handled',
      { readonly actor: string; readonly message: string; readonly messageId: number | undefined }
    >
  /** An arrow begins: a message, or a frame with what it carried. It ends in `handled`, `arrived`, `lost`, or never. */
  | TraceAt<
      'sent',
      {
        readonly messageId: number
        readonly to: string
        readonly message: string
        readonly actor: string | undefined
      }
    >
  | TraceAt<'arrived', { readonly messageId: number; readonly message: string }>
  | TraceAt<'lost', { readonly messageId: number; readonly why: string }>
  | TraceAt<'fault', { readonly kind: string; readonly what: string }>
  /** A change of state worth a mark: started, killed, restarted, a member seen as down, what a scenario notes. */
  | TraceAt<'state', { readonly what: string }>
  | TraceAt<'violation', { readonly name: string; readonly what: string }>

interface TracePlace {
  readonly step: number
  readonly atMs: number
  /** `undefined`: the world itself. */
  readonly lane: string | undefined
}
type TraceAt<K extends string, T> = TracePlace & { readonly type: K } & Readonly<T>
