/** A process of an example, as the one that started it has it: what it says, in order, and the signals it is sent. */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'

/** `Report` has `type: 'failed'` with a `why` for what the process cannot go on from. */
export class Forked<Order extends object, Report extends { readonly type: string }> {
  readonly name: string
  readonly #child: ChildProcess
  readonly #reports: Report[] = []
  /** There is a report, or there will be none. */
  #changed: () => void = () => undefined
  #isOver = false

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
    // However the main process ends: one that stands still would not notice, and stay for ever.
    const end = (): void => void this.#child.kill('SIGKILL')
    process.once('exit', end)
    this.#child.once('exit', () => {
      process.off('exit', end)
      this.#isOver = true
      this.#changed()
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
    if (this.#child.connected) this.#child.send(order)
  }

  /** SIGSTOP: it stands still, in the middle of whatever it does. */
  pause(): void {
    this.#child.kill('SIGSTOP')
  }

  resume(): void {
    this.#child.kill('SIGCONT')
  }

  /** SIGKILL. Resolves when it is gone. */
  async kill(): Promise<void> {
    if (this.#isOver) return
    const ended = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await ended
  }
}
