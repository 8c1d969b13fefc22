/** Watches across nodes, held to what is promised of them by somebody who sees both ends. */
import type { EndReason } from '@understudy/runtime'
import { frameTags } from './fault-list.ts'
import { Witness, type Boot } from './witness.ts'

export const watchTags: readonly string[] = [
  ...frameTags,
  ...['notice stopped', 'notice failed', 'notice node-down', 'notice not-found', 'notice of a dead ref'],
  ...[
    'through-a-third-node',
    'unbound',
    'unwatched',
    'watched-again',
    'outlived-a-link',
    'watcher-restarted',
  ],
  ...['target-restarted', 'gave-up-the-living', 'last-words-first', 'reconnected', 'rejoined'],
]

export interface TargetLife {
  readonly number: number
  readonly boot: Boot
  readonly path: string
  readonly rejoins: number
  readonly uid: number
}

export interface Watch {
  readonly number: number
  readonly boot: Boot
  /** Of the watcher: it survives that one's restarts, not its end. */
  readonly uid: number
  readonly target: TargetLife
  readonly placedAtMs: number
  /** The target's node was a living member when it was placed. */
  readonly wasMember: boolean
  readonly isBound: boolean
  readonly suspicions: number
  isActive: boolean
  notices: number
}

export class WatchLedger {
  readonly witness = new Witness(watchTags)
  readonly targets: TargetLife[] = []
  readonly watches: Watch[] = []
  /** Watchers that were told of the end of a target, as `boot/uid/target`. */
  readonly #told = new Set<string>()
  readonly #lastWords = new Map<string, number>()

  target(boot: Boot, path: string, uid: number): TargetLife {
    const target = { number: this.targets.length, boot, path, uid, rejoins: boot.rejoins }
    this.targets.push(target)
    return target
  }

  /** Names are never used twice: a path says who is meant. */
  targetAt(path: string): TargetLife {
    const number = Number(/t-(\d+)$/.exec(path)?.[1] ?? Number.NaN)
    const target = this.targets[number]
    if (target === undefined) throw new Error(`Nobody was ever started at ${path}`)
    return target
  }

  endOf(target: TargetLife): EndReason | 'killed' | undefined {
    return this.witness.endOf(target)
  }

  place(boot: Boot, uid: number, target: TargetLife, isBound: boolean): Watch {
    const { witness } = this
    const members = witness.nodeOf(boot)?.members() ?? []
    const node = witness.nodeOf(target.boot)
    const watch: Watch = {
      number: this.watches.length,
      boot,
      uid,
      target,
      placedAtMs: witness.world.now(),
      wasMember: members.some(
        ({ name, incarnation, status }) =>
          name === target.boot.node &&
          (status === 'alive' || status === 'suspect') &&
          incarnation === node?.incarnation &&
          target.rejoins === target.boot.rejoins,
      ),
      isBound,
      suspicions: witness.counted(`suspected ${boot.number}/${target.boot.node}`),
      isActive: true,
      notices: 0,
    }
    this.watches.push(watch)
    if (!isBound) witness.met('unbound')
    return watch
  }

  activeOf(boot: Boot, uid: number): readonly Watch[] {
    return this.watches.filter((watch) => watch.boot === boot && watch.uid === uid && watch.isActive)
  }

  noticed(watch: Watch, reason: EndReason): void {
    const { witness } = this
    const { target, boot } = watch
    const what = `watch ${watch.number} of "${boot.node}" on ${target.path} of "${target.boot.node}" (${reason})`
    witness.met(`notice ${reason}`)
    if (watch.notices > 0) witness.broken('one-notice', `${what}: a second notice`)
    else if (!watch.isActive) witness.broken('unwatched', `${what}: a notice after unwatch`)
    watch.notices++
    watch.isActive = false
    this.#told.add(`${boot.number}/${watch.uid}/${target.number}`)
    const end = this.endOf(target)
    const sinceMs = Math.max(watch.placedAtMs, 0)
    if (reason === 'node-down') {
      const hasCause =
        !watch.wasMember ||
        target.boot.isTwin ||
        boot.isTwin ||
        end !== undefined ||
        target.rejoins !== target.boot.rejoins ||
        witness.gaveUpAtMs(boot, target.boot.node) >= sinceMs
      if (!hasCause) witness.broken('notice-has-a-cause', `${what}: it lives, and nobody gave its node up`)
      if (end === undefined) witness.met('gave-up-the-living')
    } else {
      if (end === undefined && !target.boot.isTwin && target.rejoins === target.boot.rejoins) {
        witness.broken('notice-has-a-cause', `${what}: it lives`)
      }
      const told = reason === 'not-found' ? !watch.isBound : true
      if (!told) witness.broken('notice-says-why', `${what}: a bound ref leads to somebody who lived`)
      // Who was alive when the watch arrived is told why it ended.
      if (reason === 'failed' && end !== 'failed')
        witness.broken('notice-says-why', `${what}: it ended by ${end}`)
      if (witness.counted(`suspected ${boot.number}/${target.boot.node}`) > watch.suspicions)
        witness.met('outlived-a-link')
    }
  }

  heard(boot: Boot, uid: number, number: number, n: number): void {
    const target = this.targets[number]
    if (target === undefined) return this.witness.broken('never-said', `a word of target ${number}`)
    const what = `word ${n} of ${target.path} of "${target.boot.node}" to the watcher of "${boot.node}"`
    if (this.#told.has(`${boot.number}/${uid}/${number}`))
      this.witness.broken('notice-is-last', `${what} came after the notice`)
    const key = `${boot.number}/${uid}/${number}`
    if (n <= (this.#lastWords.get(key) ?? -1))
      this.witness.broken('fifo', `${what} came after word ${this.#lastWords.get(key)}`)
    this.#lastWords.set(key, n)
    if (this.endOf(target) !== undefined) this.witness.met('last-words-first')
  }

  /** At rest: whoever has ended was told of, once; whoever lives was not, unless its node was given up. */
  settle(): void {
    const { witness } = this
    for (const watch of this.watches) {
      const { target, boot, notices } = watch
      if (boot.process?.isAlive !== true || boot.isTwin) continue
      // The watcher itself has ended: with its node's incarnation.
      if (witness.endOf({ boot, path: '/user/watcher', uid: watch.uid }) !== undefined) continue
      const end = this.endOf(target)
      const what = `watch ${watch.number} of "${boot.node}" on ${target.path} of "${target.boot.node}"`
      if (watch.isActive && end !== undefined) {
        witness.world.check(
          'one-notice',
          false,
          `${what}: it ended (${end}), and no notice came; placed at ${watch.placedAtMs} ms`,
        )
      }
      witness.world.check('one-notice', notices <= 1, `${what}: ${notices} notices`)
    }
  }
}
