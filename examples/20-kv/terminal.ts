/** The prompt: lines in, text out, and reports that come while somebody is typing without breaking into their line. */
import { clearLine, createInterface, cursorTo, type Interface } from 'node:readline'

const promptText = 'kv> '

export class Terminal {
  readonly #isInteractive = process.stdin.isTTY
  readonly #startedMs = performance.now()
  readonly #lines: string[] = []
  #interface: Interface | undefined
  #isPrompting = false
  #isOver = false
  #wake: () => void = () => undefined
  #interrupt: () => void = () => undefined
  /** Resolves at Ctrl-C, and when nobody reads the output any more (`npm run kv | head`). */
  readonly interrupted = new Promise<void>((resolve) => (this.#interrupt = resolve))

  constructor() {
    for (const output of [process.stdout, process.stderr]) output.on('error', () => this.#interrupt())
  }

  /** Text of its own line or lines, at any time. */
  print(text: string): void {
    if (this.#isPrompting) {
      cursorTo(process.stdout, 0)
      clearLine(process.stdout, 0)
    }
    console.log(text)
    if (this.#isPrompting) this.#interface?.prompt(true)
  }

  /** What happens by itself: with the time since the start. */
  report(text: string): void {
    const seconds = ((performance.now() - this.#startedMs) / 1_000).toFixed(1)
    this.print(`${seconds.padStart(7)} s  ${text}`)
  }

  /** Lines as they are typed or piped, until Ctrl-D, the end of the pipe, or `close`. Whoever pipes sees them too. */
  async *lines(): AsyncGenerator<string> {
    const input = createInterface({
      input: process.stdin,
      prompt: promptText,
      ...(this.#isInteractive ? { output: process.stdout } : {}),
    })
    this.#interface = input
    input.on('line', (line) => {
      this.#lines.push(line)
      this.#wake()
    })
    input.on('SIGINT', () => this.#interrupt())
    input.on('close', () => {
      this.#isOver = true
      this.#wake()
    })
    if (this.#isOver) input.close()
    for (;;) {
      const line = this.#lines.shift()
      if (line !== undefined) {
        if (!this.#isInteractive) console.log(`${promptText}${line}`)
        yield line
      } else if (this.#isOver) {
        return
      } else {
        this.#isPrompting = this.#isInteractive
        if (this.#isPrompting) input.prompt()
        await new Promise<void>((resolve) => (this.#wake = resolve))
        this.#isPrompting = false
      }
    }
  }

  /** No line comes any more. */
  close(): void {
    this.#lines.length = 0
    this.#isOver = true
    this.#interface?.close()
    this.#wake()
  }
}
