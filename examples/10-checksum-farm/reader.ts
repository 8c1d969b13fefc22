/** Walks a directory and hands the paths on, in batches, no faster than they are taken. */
import { execFile } from 'node:child_process'
import type { Dirent } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { actor, protocol, tell, type ActorRef } from '@understudy/runtime'
import type { Farm } from './farm.ts'

const batchSize = 256
/** What the default run leaves out where there is no git to say what matters. */
const unwanted: ReadonlySet<string> = new Set(['node_modules', 'dist', 'logs'])

export const Reader = protocol('reader', { walk: tell() })

export interface ReaderInput {
  /** Absolute. */
  readonly root: string
  /** The user named it: every file counts. Else only what a person would call theirs. */
  readonly everything: boolean
  /** Absolute; never part of the result. */
  readonly exclude: readonly string[]
  readonly farm: ActorRef<typeof Farm.messages>
}

export const reader = actor(Reader, (ctx, input: ReaderInput) => {
  let batch: string[] = []
  const exclude = new Set(input.exclude)

  async function flush(): Promise<void> {
    if (batch.length === 0) return
    await input.farm.room({ signal: ctx.signal })
    ctx.tell(input.farm, { type: 'found', paths: batch })
    batch = []
  }

  async function add(file: string): Promise<void> {
    if (exclude.has(file)) return
    batch.push(file)
    if (batch.length >= batchSize) await flush()
  }

  function unreadable(file: string, error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error)
    ctx.tell(input.farm, { type: 'unreadable', path: file, reason })
  }

  async function walk(directory: string): Promise<void> {
    let entries: Dirent<Buffer>[]
    try {
      // As bytes: a name need not be text.
      entries = await readdir(directory, { withFileTypes: true, encoding: 'buffer' })
    } catch (error) {
      unreadable(directory, error)
      return
    }
    for (const entry of entries) {
      const name = entry.name.toString('utf8')
      const file = path.join(directory, name)
      if (!input.everything && (name.startsWith('.') || unwanted.has(name))) continue
      if (!Buffer.from(name, 'utf8').equals(entry.name)) {
        unreadable(file, new Error('its name is not valid UTF-8'))
      } else if (entry.isDirectory()) {
        await walk(file)
      } else if (entry.isFile()) {
        await add(file)
      } else if (entry.isSymbolicLink()) {
        await addLink(file)
      } else {
        ctx.tell(input.farm, { type: 'skipped' })
      }
    }
  }

  /** A link to a file counts as the file, as for sha256sum; one to a directory is not followed, for it may be a circle. */
  async function addLink(file: string): Promise<void> {
    try {
      if ((await stat(file)).isFile()) await add(file)
      else ctx.tell(input.farm, { type: 'skipped' })
    } catch (error) {
      unreadable(file, error)
    }
  }

  return {
    walk: async () => {
      const tracked = input.everything ? undefined : await trackedFiles(input.root)
      if (tracked === undefined) {
        await walk(input.root)
      } else {
        for (const name of tracked) await addTracked(path.join(input.root, name))
      }
      await flush()
      ctx.tell(input.farm, { type: 'walked' })
    },
  }

  async function addTracked(file: string): Promise<void> {
    try {
      // A tracked file may be gone from the work tree, or be a submodule.
      if ((await stat(file)).isFile()) await add(file)
      else ctx.tell(input.farm, { type: 'skipped' })
    } catch (error) {
      unreadable(file, error)
    }
  }
})

/** The files that git tracks below `directory`; `undefined` where git knows nothing of it. */
async function trackedFiles(directory: string): Promise<readonly string[] | undefined> {
  try {
    const { stdout } = await promisify(execFile)('git', ['ls-files', '-z'], {
      cwd: directory,
      maxBuffer: 1 << 28,
    })
    const names = stdout.split('\0').filter((name) => name !== '')
    return names.length === 0 ? undefined : names
  } catch {
    // No git, or no repository: not an error, the walk will do.
    return undefined
  }
}
