/** Errors of the disk below a store, told as the store's own. */
import { StoreError } from './store-error.ts'
import type { StoreErrorCode } from './store-error.ts'

/** What the system calls errors in words, where a library passes on nothing else. */
const namesByText: readonly (readonly [text: RegExp, name: string])[] = [
  [/no space left on device|not enough space on the disk/i, 'ENOSPC'],
  [/disk quota exceeded/i, 'EDQUOT'],
  [/input\/output error/i, 'EIO'],
  [/read-only file system/i, 'EROFS'],
  [/file too large/i, 'EFBIG'],
  [/too many open files/i, 'EMFILE'],
  [/permission denied/i, 'EACCES'],
  [/no such file or directory/i, 'ENOENT'],
]

const meanings: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full; make room, then open the store again',
  EDQUOT: 'the quota of the disk is used up; raise it or make room, then open the store again',
  EIO: 'the disk reports an input/output error; look at the disk',
  EROFS: 'the file system is read-only; mount it for writing',
  EFBIG: 'the file would be larger than the process may write; raise that limit',
  EMFILE: 'the process has too many open files; raise its limit',
  EACCES: 'the process may not use it; mend its owner or mode',
}

/** The name of the error number below `error`: `ENOSPC`. `undefined` when it has none. */
export function errorNameOf(error: unknown): string | undefined {
  for (let at = error; at instanceof Error; at = at.cause) {
    const { code, message } = at as NodeJS.ErrnoException
    if (code !== undefined && /^E[A-Z0-9]+$/.test(code)) return code
    const known = namesByText.find(([text]) => text.test(message))
    if (known !== undefined) return known[1]
  }
  return undefined
}

/**
 * `cause` as a store's error: `RUNTIME_STORE_FULL` where there was no room, else `otherwise`. `details.errorName` is the
 * name of the error number, where it is known.
 */
export function diskError(
  attempt: string,
  directory: string,
  cause: unknown,
  otherwise: StoreErrorCode,
): StoreError {
  const errorName = errorNameOf(cause)
  const isFull = errorName === 'ENOSPC' || errorName === 'EDQUOT'
  const said = cause instanceof Error ? cause.message : String(cause)
  const why = errorName === undefined ? said : `${errorName}, ${meanings[errorName] ?? said}`
  return new StoreError(isFull ? 'RUNTIME_STORE_FULL' : otherwise, `${attempt}: ${why}`, {
    details: { directory, ...(errorName === undefined ? undefined : { errorName }) },
    cause,
  })
}
