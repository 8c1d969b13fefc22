/**
 * Where the nodes of one farm find each other: a directory that only its owner may read, with a file of addresses, which
 * `fileDiscovery` reads, and the secret without which nobody gets in. One address is enough: who else is there is gossiped.
 */
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileDiscovery, type NodeOptions } from '@understudy/cluster'

/** What a node needs to get in. */
export type MeetingOptions = Pick<NodeOptions, 'discovery' | 'secret'>

export class MeetingPlace implements AsyncDisposable {
  readonly directory: string
  readonly secret: string

  private constructor(directory: string, secret: string) {
    this.directory = directory
    this.secret = secret
  }

  /** Makes one. Nobody finds anything there until `publish`. */
  static async open(secret: string): Promise<MeetingPlace> {
    // mkdtemp makes it readable for its owner alone.
    const directory = await mkdtemp(path.join(tmpdir(), 'checksum-farm-'))
    await writeFile(path.join(directory, 'secret'), secret, { mode: 0o600 })
    return new MeetingPlace(directory, secret)
  }

  /** From now on nodes are found at `address`. */
  async publish(address: string): Promise<void> {
    const file = path.join(this.directory, 'nodes')
    await writeFile(
      `${file}.draft`,
      `# The farm itself. Whoever meets it meets all the others.\n${address}\n`,
    )
    await rename(`${file}.draft`, file)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.directory, { recursive: true, force: true })
  }
}

/** How a node gets into the farm that meets in `directory`. Throws what the file system says when there is none. */
export async function meetingAt(directory: string): Promise<MeetingOptions> {
  const secret = await readFile(path.join(directory, 'secret'), 'utf8')
  return { secret, discovery: fileDiscovery({ path: path.join(directory, 'nodes') }) }
}
