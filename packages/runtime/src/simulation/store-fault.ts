/** What can be done to the disks of simulated machines, as kinds of fault. */
import type { ChoiceStream } from './choice-source.ts'
import type { DiskControls } from './disk-controls.ts'
import type { DiskDirectory } from './disk-directory.ts'
import type { FaultKind, Injected } from './fault-plan.ts'

export type StoreFaultName =
  | 'store-slow'
  | 'store-eio'
  | 'store-full'
  | 'store-flip'
  | 'store-lying'
  | 'store-old'
  | 'store-wipe'

/** Those that break what a store promises: what was acknowledged may be gone, or worse. */
export const harmfulStoreFaults: ReadonlySet<StoreFaultName> = new Set<StoreFaultName>([
  'store-flip',
  'store-lying',
  'store-old',
  'store-wipe',
])

/**
 * Whether the budget allows this fault on that machine now. `store-flip`, `store-lying`, `store-old` and `store-wipe`
 * break what a store promises: allow them only where enough good copies are left.
 */
export type MayHarmStore = (machine: string, fault: StoreFaultName) => boolean

/** Durations that faults draw from, in milliseconds: the mildest first. */
const durationsMs = [100, 1_000, 5_000, 30_000] as const
const slowsMs = [20, 200, 2_000] as const
const roomsBytes = [16_384, 1_024, 64, 0] as const

/**
 * All kinds that concern disks. Slow, failing, full and lying disks mend by themselves or by `heal`; what they did to a
 * store (it takes no more writes until it is opened again) and to the data stays. A disk has each at most once at a time.
 *
 * `store-old` and `store-wipe` meet only directories that no process holds: the next start finds them so.
 *
 * @param disks the disks that may be met, in a fixed order
 * @param mayHarm the world's budget. @default everything is allowed
 */
export function storeFaults(
  disks: () => readonly DiskControls[],
  mayHarm: MayHarmStore = () => true,
): readonly FaultKind[] {
  const onDisk = (
    name: StoreFaultName,
    canMeet: (disk: DiskControls) => boolean,
    act: (disk: DiskControls, stream: ChoiceStream) => Injected | undefined,
  ): FaultKind => ({
    name,
    inject: (stream) => {
      const disk = pick(
        disks().filter((one) => canMeet(one) && mayHarm(one.machine, name)),
        stream,
      )
      const injected = disk === undefined ? undefined : act(disk, stream)
      return injected === undefined ? undefined : { lane: disk?.machine, ...injected }
    },
  })

  return [
    onDisk('store-slow', (disk) => isOpen(disk) && !disk.isSlow, slowDisk),
    onDisk('store-eio', (disk) => isOpen(disk) && !disk.isFailing, failingDisk),
    onDisk(
      'store-full',
      (disk) => isOpen(disk) && !disk.isFull,
      (disk, stream) => {
        const bytes = pick(roomsBytes, stream) ?? 0
        const forMs = pick(durationsMs, stream)
        disk.fill(bytes)
        return { what: `${bytes} bytes left for ${forMs} ms`, undo: () => disk.makeRoom(), forMs }
      },
    ),
    onDisk('store-flip', (disk) => disk.directories().some(hasEntries), flipBit),
    onDisk(
      'store-lying',
      (disk) => isOpen(disk) && !disk.isLying,
      (disk, stream) => {
        const forMs = pick(durationsMs, stream)
        disk.lie()
        return { what: `fsync lies for ${forMs} ms`, undo: () => disk.stopLying(), forMs }
      },
    ),
    onDisk(
      'store-old',
      (disk) => disk.directories().some(canGoBack),
      (disk, stream) => {
        const directory = pick(disk.directories().filter(canGoBack), stream)
        if (directory === undefined) return undefined
        const batches = 1 + stream.choose(directory.depth)
        disk.goBack(directory.name, batches)
        return { what: `"${directory.name}" as it was ${batches} batches ago` }
      },
    ),
    onDisk(
      'store-wipe',
      (disk) => disk.directories().some(canBeWiped),
      (disk, stream) => {
        const directory = pick(disk.directories().filter(canBeWiped), stream)
        if (directory === undefined) return undefined
        disk.wipe(directory.name)
        return { what: `"${directory.name}" is empty` }
      },
    ),
  ]
}

function slowDisk(disk: DiskControls, stream: ChoiceStream): Injected {
  const how = stream.choose(slowsMs.length + 1)
  const forMs = pick(durationsMs, stream) ?? 0
  const slowMs = slowsMs[how]
  if (slowMs === undefined) {
    disk.stall(forMs)
    return { what: `nothing for ${forMs} ms`, undo: () => disk.stall(0), forMs }
  }
  disk.slow(slowMs)
  return { what: `up to ${slowMs} ms more for ${forMs} ms`, undo: () => disk.slow(0), forMs }
}

function failingDisk(disk: DiskControls, stream: ChoiceStream): Injected {
  const how = stream.choose(3)
  if (how === 0) {
    disk.failReads(1)
    return { what: 'the next read fails', undo: () => disk.failReads(0) }
  }
  if (how === 1) {
    disk.failWrites(1)
    return { what: 'the next write fails', undo: () => disk.failWrites(0) }
  }
  const forMs = pick(durationsMs, stream)
  disk.failReads(Infinity)
  disk.failWrites(Infinity)
  const undo = (): void => {
    disk.failReads(0)
    disk.failWrites(0)
  }
  return { what: `reads and writes fail for ${forMs} ms`, undo, forMs }
}

function flipBit(disk: DiskControls, stream: ChoiceStream): Injected | undefined {
  const directory = pick(disk.directories().filter(hasEntries), stream)
  const entry = directory?.entryAt(stream.choose(directory.size))
  if (directory === undefined || entry === undefined) return undefined
  const bit = stream.choose(32 + 8 * entry.value.byteLength)
  disk.flip(directory.name, entry.key, bit)
  return { what: `bit ${bit} of "${entry.key}" in "${directory.name}"` }
}

function pick<T>(among: readonly T[], stream: ChoiceStream): T | undefined {
  return among[stream.choose(among.length)]
}

function isOpen(disk: DiskControls): boolean {
  return disk.directories().some(({ holder }) => holder !== undefined)
}

function hasEntries(directory: DiskDirectory): boolean {
  return directory.size > 0
}

function canGoBack(directory: DiskDirectory): boolean {
  return directory.holder === undefined && directory.depth > 0
}

function canBeWiped(directory: DiskDirectory): boolean {
  return directory.holder === undefined && directory.size > 0
}
