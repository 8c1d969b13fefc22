/** What a supervision tree did, written down by its actors and its events, and held to the rules as it happens. */
import type { ActorSystem, Strategy } from '@understudy/runtime'
import type { SystemWorld } from '@understudy/runtime/simulation'

/** One incarnation of one actor, as it told itself. */
export interface Life {
  readonly path: string
  readonly uid: number
  readonly incarnation: number
  readonly startedAtMs: number
  state: 'setup' | 'live' | 'over'
  /** A handler of it is under way. */
  isBusy: boolean
  /** It stops by its own will, or was given up: its end comes before anybody decides about its siblings. */
  isLeaving: boolean
  /** It crashed. A supervisor that is closing lets go of it at once. */
  hasCrashed: boolean
}

/** Siblings under one supervisor, in start order. */
export interface Group {
  readonly path: string
  readonly strategy: Strategy
  readonly intensity: {
    readonly restarts: number
    readonly withinMs: number
    readonly per: 'supervisor' | 'child'
  }
  readonly children: readonly string[]
}

interface Watch {
  placed: boolean
  notices: number
}

/** Virtual time is a float: sums of the same parts differ in their last bits. */
export const closeMs = 1e-3

export class Ledger {
  readonly #world: SystemWorld
  readonly #tags: ReadonlySet<string>
  readonly #groups: ReadonlyMap<string, Group>
  readonly #lives = new Map<string, Life>()
  /** Uids that have ended for good. */
  readonly #ended = new Set<number>()
  /** Lives that must be over before anybody of their group starts, by supervisor. */
  readonly #mustEnd = new Map<string, readonly Life[]>()
  /** Times of restarts, by supervisor or child, and the earliest start that a backoff allows, by child. */
  readonly #restarts = new Map<string, number[]>()
  readonly #notBeforeMs = new Map<string, number>()
  readonly #watches = new Map<number, Watch>()
  readonly #last = new Map<string, number>()
  readonly #asks = new Map<number, { readonly what: string; readonly untilMs: number }>()
  readonly #counts = new Map<string, number>()
  #askNumber = 0

  /** `tags`: those that the scenario declares. */
  constructor(world: SystemWorld, groups: readonly Group[], tags: readonly string[]) {
    this.#world = world
    this.#tags = new Set(tags)
    this.#groups = new Map(groups.map((group) => [group.path, group]))
    world.invariant('no-ask-hangs', () => this.#checkAsks(), 'quiesce')
  }

  /** Breaks a rule from within an actor, where a throw would only be that actor's crash. */
  broken(rule: string, text: string): void {
    this.#world.simulation.fail(rule, text)
  }

  #met(tag: string): void {
    if (this.#tags.has(tag)) this.#world.sometimes(tag)
  }

  /** Takes the system's own events from now on. */
  listen(system: ActorSystem): void {
    const { events } = system
    events.on('actor-restarted', ({ path, count, limit, delayMs, error }) => {
      this.#met('restarted')
      if (delayMs > 0) this.#met('backoff')
      if (error?.name === 'RestartLimitExceeded') this.#met('limit-escalated')
      if (count > limit) this.broken('intensity', `${path}: restart ${count} of at most ${limit}`)
      this.#noteRestart(path, delayMs)
    })
    // Who is given up ends at once, before anybody decides about its siblings.
    events.on('actor-failed', ({ path }) => {
      const life = this.#lives.get(path)
      if (life !== undefined) life.isLeaving = true
    })
    events.on('actor-stopped', ({ path, uid }) => {
      this.#ended.add(uid)
      const life = this.#lives.get(path)
      if (life?.uid === uid) life.state = 'over'
    })
    events.on('actor-abandoned', ({ path }) => {
      this.#met('abandoned')
      // Whoever hangs is left behind, and all below it.
      for (const life of this.#lives.values()) {
        if (life.path === path || life.path.startsWith(`${path}/`)) life.state = 'over'
      }
    })
    events.on('dead-letter', ({ path, message }) => {
      this.count(`dead ${message.type}`)
      this.count(`dead ${message.type} ${path}`)
    })
  }

  // ---- Lives ---------------------------------------------------------------------------------------------------

  /** `setup` has begun. */
  begins(path: string, uid: number, incarnation: number): Life {
    const nowMs = this.#world.now()
    const before = this.#lives.get(path)
    const who = `${path}#${uid}.${incarnation}`
    if (before !== undefined) {
      const was = `${before.uid}.${before.incarnation}`
      // Some are skipped: taken down again before their setup ran.
      const isNext = before.uid === uid ? incarnation > before.incarnation : uid > before.uid
      if (!isNext) this.broken('incarnation-grows', `${who} begins after ${was}`)
      if (before.state !== 'over' && before.state !== 'setup') {
        this.broken('one-incarnation', `${who} begins while ${was} is ${before.state}`)
      }
      if (before.uid !== uid && !this.#ended.has(before.uid)) {
        this.broken('uid-kept', `${who} has a new uid although ${was} did not end`)
      }
      before.state = 'over'
    }
    const group = this.#groupOf(path)
    // Static children start in order: with the first one their supervisor has begun anew.
    if (group !== undefined && incarnation === 0 && group.children[0] === path) this.#forget(group)
    const notBeforeMs = this.#notBeforeMs.get(path)
    if (notBeforeMs !== undefined && before?.uid === uid && nowMs < notBeforeMs - closeMs) {
      this.broken('backoff', `${who} begins at ${nowMs}, before ${notBeforeMs}`)
    }
    this.#notBeforeMs.delete(path)
    const life: Life = {
      path,
      uid,
      incarnation,
      startedAtMs: nowMs,
      state: 'setup',
      isBusy: false,
      isLeaving: false,
      hasCrashed: false,
    }
    this.#lives.set(path, life)
    if (group !== undefined && group.strategy !== 'one-for-one') this.#checkStartOrder(life, group)
    return life
  }

  isUp(life: Life): void {
    if (life.state === 'setup') life.state = 'live'
  }

  /** Its last defer hook runs. */
  ends(life: Life, why: 'stop' | 'restart'): void {
    const group = this.#groupOf(life.path)
    // A handler that is still under way has timed out: that is a crash too.
    const isLetGo = life.isLeaving || (why === 'stop' && (life.hasCrashed || life.isBusy))
    if (group !== undefined && group.strategy !== 'one-for-one' && !isLetGo) {
      const younger = this.#liveAfter(life.path, group)
      if (younger !== undefined) {
        this.broken('stop-order', `${life.path} ended before ${younger.path}, which was started after it`)
      }
    }
    life.state = 'over'
  }

  /** Somebody who was started after `path`, is up, and is not about to end by itself. */
  #liveAfter(path: string, { children }: Group): Life | undefined {
    return children
      .slice(children.indexOf(path) + 1)
      .map((younger) => this.#lives.get(younger))
      .find((life) => life?.state === 'live' && !life.isLeaving)
  }

  /** It is not the incarnation that its path has now, or has ended. */
  isStale(life: Life): boolean {
    return life.state === 'over' || this.#lives.get(life.path) !== life
  }

  /** A handler of `life` begins. `isAlone`: no other one may be under way. */
  handles(life: Life, type: string): void {
    const who = `${life.path}#${life.uid}.${life.incarnation}`
    if (this.isStale(life)) this.broken('fenced', `${who} handled "${type}" after its end`)
    if (life.state === 'setup') this.broken('setup-first', `${who} handled "${type}" before it had started`)
    if (life.isBusy) this.broken('one-at-a-time', `${who} handled "${type}" beside another message`)
    this.count(`handled ${type} ${life.path}`)
  }

  #groupOf(path: string): Group | undefined {
    return this.#groups.get(path.slice(0, path.lastIndexOf('/')))
  }

  #noteRestart(path: string, delayMs: number): void {
    const nowMs = this.#world.now()
    const group = this.#groupOf(path)
    if (group === undefined) return
    const { restarts, withinMs, per } = group.intensity
    const key = per === 'child' ? path : group.path
    const times = [...(this.#restarts.get(key) ?? []), nowMs].filter(
      (atMs) => atMs > nowMs - withinMs + closeMs,
    )
    this.#restarts.set(key, times)
    if (per === 'supervisor' && times.length > restarts) {
      this.broken(
        'intensity',
        `${group.path}: ${times.length} restarts within ${withinMs} ms, at most ${restarts} are borne`,
      )
    }
    const isAlone = group.strategy === 'one-for-one'
    const from = group.strategy === 'one-for-all' ? 0 : group.children.indexOf(path)
    const sharing = isAlone ? [path] : group.children.slice(from)
    // Who fails last decides how long all of them wait.
    for (const child of sharing) this.#notBeforeMs.delete(child)
    if (delayMs > 0) this.#notBeforeMs.set(path, nowMs + delayMs)
    if (isAlone) return
    this.#met(`${group.strategy}-restart`)
    const down = sharing.flatMap((child) => this.#lives.get(child) ?? [])
    const before = (this.#mustEnd.get(group.path) ?? []).filter(({ state }) => state !== 'over')
    this.#mustEnd.set(group.path, [
      ...new Set([...before, ...down.filter(({ state, isLeaving }) => state === 'live' && !isLeaving)]),
    ])
  }

  /** Under a supervisor that has begun anew, old counts mean nothing. */
  #forget({ path, children }: Group): void {
    this.#restarts.delete(path)
    this.#mustEnd.delete(path)
    for (const child of children) {
      this.#restarts.delete(child)
      this.#notBeforeMs.delete(child)
    }
  }

  #checkStartOrder(life: Life, group: Group): void {
    for (const old of this.#mustEnd.get(group.path) ?? []) {
      if (old.state === 'live' && !old.isLeaving)
        this.broken('group-down-first', `${life.path} starts before ${old.path} has ended`)
    }
    this.#mustEnd.delete(group.path)
    const younger = this.#liveAfter(life.path, group)
    if (younger !== undefined) {
      this.broken('start-order', `${life.path} starts while ${younger.path}, which comes after it, is up`)
    }
  }

  // ---- Messages, watches, asks ---------------------------------------------------------------------------------

  count(what: string, by = 1): void {
    this.#counts.set(what, this.counted(what) + by)
  }

  counted(what: string): number {
    return this.#counts.get(what) ?? 0
  }

  /** The number of the next message of that pair. */
  next(pair: string): number {
    const number = this.counted(`sent ${pair}`) + 1
    this.count(`sent ${pair}`)
    return number
  }

  /** A message of that pair is handled: none twice, none before an earlier one. */
  received(pair: string, number: number): void {
    const last = this.#last.get(pair) ?? 0
    if (number <= last) this.broken('fifo', `${pair}: ${number} came after ${last}`)
    this.#last.set(pair, number)
  }

  watched(uid: number): void {
    this.#watchOf(uid).placed = true
  }

  noticed(uid: number): void {
    const watch = this.#watchOf(uid)
    watch.notices++
    this.#met('terminated-notice')
    if (!watch.placed) this.broken('watch', `a notice of the end of ${uid}, which was not watched`)
    if (watch.notices > 1) this.broken('watch', `${watch.notices} notices of the end of ${uid}`)
    if (!this.#ended.has(uid)) this.broken('watch', `a notice of the end of ${uid}, which has not ended`)
  }

  /** At rest every watch of somebody who has ended has had its notice. */
  checkWatches(): void {
    for (const [uid, { placed, notices }] of this.#watches) {
      const expected = placed && this.#ended.has(uid) ? 1 : 0
      this.#world.check(
        'watch',
        notices === expected,
        `${notices} notices of the end of ${uid}, expected ${expected}`,
      )
    }
  }

  #watchOf(uid: number): Watch {
    let watch = this.#watches.get(uid)
    if (watch === undefined) {
      watch = { placed: false, notices: 0 }
      this.#watches.set(uid, watch)
    }
    return watch
  }

  /** Whatever becomes of the ask, it becomes it by `withinMs`. Returns its error, or `undefined`. */
  async settles(what: string, withinMs: number, ask: () => Promise<unknown>): Promise<unknown> {
    const number = this.#askNumber++
    this.#asks.set(number, { what, untilMs: this.#world.now() + withinMs })
    try {
      await ask()
      this.count('answered')
      return undefined
    } catch (error) {
      const { code } = error as { readonly code?: unknown }
      if (typeof code !== 'string') this.broken('typed-error', `${what} failed with ${String(error)}`)
      else this.#met(`ask ${code.replace('RUNTIME_', '')}`)
      return error
    } finally {
      this.#asks.delete(number)
    }
  }

  #checkAsks(): void {
    const nowMs = this.#world.now()
    for (const { what, untilMs } of this.#asks.values()) {
      if (nowMs > untilMs + closeMs)
        this.broken('no-ask-hangs', `${what} is still open ${nowMs - untilMs} ms after its deadline`)
    }
  }
}
