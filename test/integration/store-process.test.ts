/** The durable stores in processes of their own: killed while it writes, on a full disk, and two that want one directory. */
import { spawn, spawnSync, type ChildProcessByStdio } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import tap, { test, type Test } from 'tap'
import { batchOf, openers, type StoreReport } from '../fixtures/store-process.ts'
import { storeDirectory } from '../support/store-directory.ts'

tap.setTimeout(120_000)

const fixture = fileURLToPath(new URL('../fixtures/store-process.js', import.meta.url))

class StoreProcess {
  readonly #child: ChildProcessByStdio<null, Readable, null>
  readonly #lines: AsyncIterator<string>
  readonly ended: Promise<unknown>

  constructor(t: Test, args: readonly string[], command: readonly string[] = []) {
    const [program = process.execPath, ...head] = [...command, process.execPath, fixture, ...args]
    this.#child = spawn(program, head, { stdio: ['ignore', 'pipe', 'inherit'] })
    this.ended = once(this.#child, 'exit')
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]()
    t.teardown(() => this.#child.kill('SIGKILL'))
  }

  /** `undefined` at its end. */
  async next(): Promise<StoreReport | undefined> {
    const line = await this.#lines.next()
    return line.done === true ? undefined : (JSON.parse(line.value) as StoreReport)
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }
}

const mounting = ['unshare', '--mount', 'sh', '-c', 'mount -t tmpfs -o size=30m none "$0" && exec "$@"']

function whyNoMount(): string | false {
  const { status, stderr } = spawnSync('unshare', ['--mount', 'mount', '-t', 'tmpfs', 'none', '/mnt'])
  return status === 0 ? false : `this process may not mount a small disk: ${String(stderr).trim()}`
}

for (const [name, shape] of [
  ['fileStore', 'table'],
  ['segmentStore', 'log'],
] as const) {
  const open = openers[shape]

  void test(`${name} after kill -9 while it writes: all that resolved is there, and no batch in parts`, async (t) => {
    const directory = storeDirectory(t)
    let durable: number[] = []
    for (const count of [1, 40, 400, 3_000]) {
      // Each life writes the same keys again, over those of the life before.
      durable = [0, 0, 0, 0]
      const writer = new StoreProcess(t, ['write', directory, shape])
      let heard = 0
      for (let report = await writer.next(); report !== undefined; report = await writer.next()) {
        if (report.type !== 'durable') continue
        durable[report.writer] = report.n
        if (++heard === count) writer.kill()
      }
      await writer.ended
      const store = await open(directory)
      for (const [own, n] of durable.entries()) {
        const last = Number(new TextDecoder().decode(await store.get(`w/${own}/last`)))
        // One more may have been on its way; or the last of an earlier life, when this one had none.
        if (n > 0) t.ok(last === n || last === n + 1, `writer ${own}: ${last} after ${n}`)
        for (let i = 1; i <= (n > 0 ? last : 0); i++) {
          for (const { key, value } of batchOf(own, i).filter((change) => change.type === 'put')) {
            const found = await store.get(key)
            const isThere = key.endsWith('/last') || Buffer.compare(found ?? new Uint8Array(0), value) === 0
            if (!isThere) t.fail(`${key} is not as it was written`)
          }
        }
        const next = batchOf(own, last + 1).filter(({ key }) => !key.endsWith('/last'))
        const found = await Promise.all(next.map(({ key }) => store.get(key)))
        t.equal(new Set(found.map((value) => value === undefined)).size, 1, 'the next batch is there or not')
      }
      await store.close()
    }
    t.ok(
      durable.every((n) => n > 0),
      `in the end ${durable.join(', ')}`,
    )
  })

  void test(`${name} of another process is refused by name, and free when that is dead`, async (t) => {
    const directory = storeDirectory(t)
    const holder = new StoreProcess(t, ['hold', directory, shape])
    await holder.next()
    for (let attempt = 0; attempt < 2; attempt++) {
      await t.rejects(open(directory), {
        code: 'RUNTIME_STORE_UNAVAILABLE',
        message: /another process has it open/,
        details: { directory },
      })
    }
    holder.kill()
    await holder.ended
    const store = await open(directory)
    // An attempt within one process must not give the lock away to others.
    await t.rejects(open(directory), { message: /this process has it open/ })
    const second = new StoreProcess(t, ['hold', directory, shape])
    t.match(await second.next(), { type: 'refused', code: 'RUNTIME_STORE_UNAVAILABLE' })
    await store.close()
  })

  void test(
    `${name} on a disk that fills up: ENOSPC is named, nothing durable is lost`,
    { skip: whyNoMount() },
    async (t) => {
      const directory = storeDirectory(t)
      const disk = dirname(directory)
      mkdirSync(disk, { recursive: true })
      const filler = new StoreProcess(t, ['fill', directory, shape], [...mounting, disk])
      const report = await filler.next()
      t.match(report, {
        type: 'filled',
        code: 'RUNTIME_STORE_FULL',
        errorName: 'ENOSPC',
        later: 'RUNTIME_STORE_FAILED',
      })
      if (report?.type !== 'filled') return
      t.ok(report.durable > 20, `${report.durable} writes fitted`)
      t.ok(
        report.found === report.durable || report.found === report.durable + 1,
        `${report.found} are there`,
      )
      t.ok(report.again, 'with room again it takes writes')
    },
  )
}
