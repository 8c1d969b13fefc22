/** What the disk under the directory takes for one durable append, for scale: every figure of a durable log rests on it. */
import { close, fdatasync, open, write } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { percentile } from './sample.ts'

const APPENDS = 200
const BYTES = 8_192

/** Median of an append of 8 KiB to a growing file with its `fdatasync`, one after the other, nothing else going on; ms. */
export async function probeDisk(directory: string): Promise<number> {
  const file = await promisify(open)(join(directory, 'probe'), 'a')
  const bytes = Buffer.alloc(BYTES, 7)
  const tookMs: number[] = []
  for (let count = 0; count < APPENDS; count++) {
    const startMs = performance.now()
    await promisify(write)(file, bytes)
    await promisify(fdatasync)(file)
    tookMs.push(performance.now() - startMs)
  }
  await promisify(close)(file)
  return percentile(tookMs, 50)
}
