/** The work: one entity per file, named by its path. Whatever goes wrong with a file crashes its worker, and only it. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { actor, ask, protocol, service } from '@understudy/runtime'
import Type from 'typebox'

/** SHA-256, size and lines of one file. The entity's key is the file's path. */
export const Checksum = protocol('checksum', {
  compute: ask(Type.Object({ sha256: Type.String(), bytes: Type.Integer(), lines: Type.Integer() })),
})

export interface FileDigest {
  readonly sha256: string
  readonly bytes: number
  readonly lines: number
}

/** Reading files, as a service: an actor under test gets another one. */
export const FileReader = service<{
  readonly digest: (path: string, signal: AbortSignal) => Promise<FileDigest>
}>('file-reader')

/** Runs on the ring's owner of its path, and stops once it has answered. */
export const checksum = actor(Checksum, { handlerTimeoutMs: 600_000 }, (ctx) => ({
  compute: async () => {
    if (ctx.key === undefined) throw new Error('A checksum worker is named by a path')
    const digest = await ctx.service(FileReader).digest(ctx.key, ctx.signal)
    ctx.stop()
    return digest
  },
}))

/** The real service: streams the file, and refuses one that changes while it is read. */
export async function digestFile(path: string, signal: AbortSignal): Promise<FileDigest> {
  const before = await stat(path)
  const hash = createHash('sha256')
  let bytes = 0
  let lines = 0
  for await (const chunk of createReadStream(path, { signal }) as AsyncIterable<Buffer>) {
    hash.update(chunk)
    bytes += chunk.length
    for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, at + 1)) lines++
  }
  const after = await stat(path)
  if (
    after.mtimeMs !== before.mtimeMs ||
    after.size !== before.size ||
    bytes !== after.size ||
    after.ino !== before.ino
  ) {
    throw new Error(
      `it changed while it was read: ${before.size} bytes before, ${bytes} read, ${after.size} after`,
    )
  }
  return { sha256: hash.digest('hex'), bytes, lines }
}
