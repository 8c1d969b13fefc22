/**
 * What a cell needs of whoever keeps its children. Owned here because the cell calls it; supervision/ implements it.
 */
import type { AnyDefinition, ChildSpec } from './behaviour.ts'
import type { Cell } from './cell.ts'
import type { ChildPolicy } from './child-spec.ts'

/** How a cell failed. */
export interface Failure {
  readonly error: Error
  /** The message it was handling, when there was one. */
  readonly messageType: string | undefined
  /** It failed while starting. */
  readonly atStart: boolean
}

export type StopMode = 'stop' | 'drain' | 'kill'

/** The children of one cell, and what happens to them. */
export interface Family {
  readonly size: number
  /** Too many failures, or one that escalated: these children are not to be kept through a restart. */
  readonly hasGivenUp: boolean
  readonly get: (name: string) => Cell | undefined
  readonly cells: () => Iterable<Cell>
  /** Adds a child that starts in its first turn. Throws `RUNTIME_DUPLICATE_NAME`. */
  readonly spawn: (name: string, definition: AnyDefinition, input: unknown, policy: ChildPolicy) => Cell
  /** Adds a cell that was made elsewhere; it starts in its first turn. */
  readonly adopt: (cell: Cell) => void
  /** Starts `specs` in order, each after the one before has started; then calls `done`. */
  readonly startStatic: (specs: readonly ChildSpec[], done: () => void) => void
  /** Stops or drains all, the youngest first, each within its deadline; then calls `done`. No child is started again. */
  readonly stopAll: (mode: 'stop' | 'drain', done: () => void) => void
  /** Ends all at once, without their goodbyes. */
  readonly killAll: () => void
  /** A child has started an incarnation. */
  readonly childStarted: (child: Cell) => void
  /** A child crashed; it is fenced and holds still. Decides what becomes of it. */
  readonly childFailed: (child: Cell, failure: Failure) => void
  /** A permanent child stopped by itself; it holds still. */
  readonly childLeft: (child: Cell) => void
  /** A child has ended for good: its name is free. */
  readonly childEnded: (child: Cell) => void
  /** How long stopping all children may take, in milliseconds. */
  readonly shutdownMs: () => number
}
