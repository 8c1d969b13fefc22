/** A process of an example, as the one that started it has it: what it says, in order, and the signals it is sent. */
import { fork, spawn, type ChildProcess } from 'node:child_process'

/** `Report` has `type: 'failed'` with a `why` for what the process cannot go on from. */
export class Forked<Order extends object, Report extends { readonly type: string }> {
  readonly name: string
  readonly #child: ChildProcess
  readonly #reports: Report[] = []
  /** Ends the pause when this process is no more. */
  #alarm: ChildProcess | undefined
  /** There is a report, or there will be none. */
  #changed: () => void = () => undefined
  #isOver = false
  #hasEnded: () => void = () => undefined
  readonly #ended = new Promise<void>((resolve) => (this.#hasEnded = resolve))

  /** `settings` reach it as JSON in the environment variable `variable`. */
  constructor(name: string, module: URL, variable: string, settings: object) {
    this.name = name
    this.#child = fork(module, {
      env: { ...process.env, [variable]: JSON.stringify(settings) },
      // Its own group: Ctrl-C reaches the main process, which then ends the others.
      detached: true,
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    this.#child.on('message', (report: Report) => {
      this.#reports.push(report)
      this.#changed()
    })
    // However the main process exits: one that stands still would not notice, and stay for ever.
    const end = (): void => void this.#child.kill('SIGKILL')
    process.once('exit', end)
    const over = (): void => {
      process.off('exit', end)
      this.#isOver = true
      this.#alarm?.stdin?.end()
      this.#changed()
      this.#hasEnded()
    }
    this.#child.once('exit', over)
    // One that could not be started never exits. Else it is an order that did not reach it: `exit` says why.
    this.#child.on('error', () => {
      if (this.#child.pid === undefined) over()
    })
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** What it says next; `undefined` when it has ended. */
  async next(): Promise<Report | undefined> {
    for (;;) {
      const report = this.#reports.shift()
      if (report !== undefined || this.#isOver) return report
      await new Promise<void>((resolve) => (this.#changed = resolve))
    }
  }

  /** A process that stands still finds it when it goes on; for one that has ended it is nothing. */
  order(order: Order): void {
    if (this.#child.connected) this.#child.send(order, () => undefined)
  }

  /**
   * SIGSTOP: it stands still, in the middle of whatever it does. When this process is killed meanwhile, so that it can do nothing
   * more, a small one that only waits for that lets it go on: it then sees that it is alone, and ends.
   */
  pause(): void {
    if (this.#isOver) return
    // Its standard input ends when this process does, however that is.
    const alarm = spawn('sh', ['-c', 'cat > /dev/null; kill -CONT "$0"', String(this.pid)], {
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
    })
    alarm.on('error', () => undefined)
    alarm.stdin.on('error', () => undefined)
    this.#alarm = alarm
    this.#child.kill('SIGSTOP')
  }

  resume(): void {
    this.#child.kill('SIGCONT')
    this.#alarm?.stdin?.end()
  }

  /** SIGKILL. Resolves when it is gone. */
  kill(): Promise<void> {
    if (!this.#isOver) this.#child.kill('SIGKILL')
    return this.#ended
  }
}
