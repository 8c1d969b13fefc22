/** Directories for durable stores, and what a bad disk does to the files in them. */
import { mkdtempSync, rmSync } from 'node:fs'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'

/** A directory that does not exist yet. It is deleted when `t` ends, with all beside it. */
export function storeDirectory(t: Test): string {
  const parent = mkdtempSync(join(tmpdir(), 'understudy-store-'))
  t.teardown(() => rmSync(parent, { recursive: true, force: true }))
  return join(parent, 'data')
}

/** The files of a store whose names end so, sorted. */
export async function filesOf(directory: string, extension: string): Promise<readonly string[]> {
  const names = await readdir(directory)
  return names
    .filter((name) => name.endsWith(extension))
    .sort()
    .map((name) => join(directory, name))
}

/** Flips a bit of `text` wherever the tables of a closed store have it. Fails when none has. */
export async function flipInTables(directory: string, text: string): Promise<void> {
  await flipInFiles(directory, '.ldb', text)
}

/** The same for files whose names end so. */
export async function flipInFiles(directory: string, extension: string, text: string): Promise<void> {
  let count = 0
  for (const file of await filesOf(directory, extension)) {
    const bytes = await readFile(file)
    for (let at = bytes.indexOf(text); at !== -1; at = bytes.indexOf(text, at + 1)) {
      bytes[at] = (bytes[at] as number) ^ 0x10
      count++
    }
    await writeFile(file, bytes)
  }
  if (count === 0) throw new Error(`"${text}" is in no file "*${extension}" of ${directory}`)
}

/** What `promise` gives, in a process that waits for nothing else: a store holds no process open. */
export async function keptAlive<T>(promise: Promise<T>): Promise<T> {
  const hold = setInterval(() => undefined, 1_000)
  try {
    return await promise
  } finally {
    clearInterval(hold)
  }
}
