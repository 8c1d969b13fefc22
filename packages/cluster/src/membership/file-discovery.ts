/** Addresses in a file that somebody else keeps up to date: a deployment tool, a mounted configuration, a person. */
import { describeGiven } from '@understudy/runtime/internal'
import type { NodeAddress } from '../transport/address.ts'
import {
  checkGiven,
  checkRefreshMs,
  DiscoveryError,
  LookLoop,
  noAddresses,
  sortedAddresses,
  type Discovery,
  type Found,
} from './discovery.ts'
import { dialableAddress } from './static-discovery.ts'

export interface FileDiscoveryOptions {
  /** Path of the file, absolute or from the current directory. */
  readonly path: string
  /**
   * How often the file is read although no change was heard of, in milliseconds, 100 to 86,400,000. Changes are heard of
   * within about 100 ms on a local disk and 2 s elsewhere, so this is only the last resort. @default 30_000
   */
  readonly refreshMs?: number | undefined
}

/** What `FileDiscoveryOptions` are when left out. */
export const fileDiscoveryDefaults = Object.freeze({ refreshMs: 30_000 })

/** Room for far more than `discoveryAddressesMax` addresses with comments. */
const fileBytesMax = 1_048_576
/** How long one read may take. */
const timeoutMs = 10_000
/** Bad lines that a message shows and `details.lines` lists. */
const badLinesShown = 10

/**
 * The addresses in a file: one a line, `#` begins a comment, empty lines count for nothing; or, when the first character is
 * `[` and what follows is JSON, an array of strings. The file may be missing at first, replaced, deleted and made again.
 *
 * A line that is no address is a problem, told with its number, and the others count. A file that is missing, cannot be
 * read, or has no address left, is a problem too, and the addresses that were known before stay. Sorted.
 *
 * @throws {TypeError | RangeError} if an option is wrong
 */
export function fileDiscovery(options: FileDiscoveryOptions): Discovery {
  checkGiven('a file', options, '{ path: "/etc/understudy/seeds" }')
  const { path } = options
  if (typeof path !== 'string' || path === '') {
    throw new TypeError(
      `Cannot find nodes by a file: "path" must be the path of a file; got ${describeGiven(path)}`,
    )
  }
  const refreshMs = options.refreshMs ?? fileDiscoveryDefaults.refreshMs
  const name = `file ${path}`
  checkRefreshMs(name, refreshMs)
  return {
    name,
    start: (platform, onAddresses, onProblem) => {
      const { files } = platform
      const look = async (): Promise<Found> => readAddressList(await files.readText(path, fileBytesMax), name)
      const loop = new LookLoop(name, platform, { refreshMs, timeoutMs }, look, onAddresses, onProblem)
      // The first read comes behind this call: what changes after it is heard of, what changed before it is read.
      const watching = files.watch(path, loop.poke)
      return {
        [Symbol.dispose]: () => {
          watching[Symbol.dispose]()
          loop[Symbol.dispose]()
        },
      }
    },
  }
}

interface Entry {
  /** Counted from 1: a line of the file, or a place in the array. */
  readonly number: number
  readonly text: unknown
}

/** The addresses in the text of such a file. Pure. `source` names it in problems. */
export function readAddressList(text: string, source: string): Found {
  const json = text.trimStart().startsWith('[')
  const entries = json ? jsonEntries(text, source) : lineEntries(text)
  if (entries instanceof DiscoveryError) return { addresses: [], problems: [entries] }
  const addresses: NodeAddress[] = []
  const bad: (Entry & { readonly why: string })[] = []
  for (const entry of entries) {
    try {
      if (typeof entry.text !== 'string') throw new TypeError('It must be a string')
      addresses.push(dialableAddress(entry.text))
    } catch (error) {
      bad.push({ ...entry, why: (error as Error).message })
    }
  }
  const problems = bad.length > 0 ? [badEntries(source, json ? 'entry' : 'line', bad)] : []
  if (entries.length === 0) {
    problems.push(noAddresses(source, 'write one address a line, such as ws://10.0.0.7:7001'))
  }
  return { addresses: sortedAddresses(addresses), problems }
}

function lineEntries(text: string): readonly Entry[] {
  return text
    .split(/\r\n|\n|\r/)
    .map((line, index) => ({ number: index + 1, text: (line.split('#')[0] ?? '').trim() }))
    .filter((entry) => entry.text !== '')
}

function jsonEntries(text: string, source: string): readonly Entry[] | DiscoveryError {
  try {
    // Begins with a bracket: it is an array, or no JSON.
    return (JSON.parse(text) as unknown[]).map((entry, index) => ({ number: index + 1, text: entry }))
  } catch (error) {
    return new DiscoveryError(
      'CLUSTER_DISCOVERY_BAD_ENTRY',
      `Cannot read ${source}: it begins with "[" and is no JSON (${(error as Error).message}); write an array of ` +
        'addresses, such as ["ws://10.0.0.7:7001"], or one address a line',
      { details: { source, lines: [] }, cause: error },
    )
  }
}

function badEntries(
  source: string,
  kind: 'line' | 'entry',
  bad: readonly { readonly number: number; readonly why: string }[],
): DiscoveryError {
  const lines = bad.slice(0, badLinesShown).map(({ number }) => number)
  const [first] = bad
  const others =
    bad.length === 1
      ? ''
      : `; so are ${bad.length - 1} more (${lines.slice(1).join(', ')}${bad.length > badLinesShown ? ', ...' : ''})`
  return new DiscoveryError(
    'CLUSTER_DISCOVERY_BAD_ENTRY',
    `Cannot use ${kind} ${first?.number} of ${source}: ${first?.why}${others}. The other addresses are used`,
    { details: { source, lines, count: bad.length } },
  )
}
