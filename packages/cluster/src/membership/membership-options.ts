/** Options of the membership of a node: of its parts, and of what joins them. */
import type { Random } from '@understudy/runtime'
import type { BootstrapOptions } from './bootstrap-core.ts'
import type { DowningOptions } from './downing-options.ts'
import type { MemberFacts } from './member-table.ts'
import { checkSwimOptions, type SwimOptions, type SwimPreset } from './swim-options.ts'

/** What users may say of the failure detection: a preset, or single figures on top of one. */
export type DetectionOptions = Omit<SwimOptions, 'self' | 'random' | 'phase' | 'known'>

export interface MembershipOptions {
  /** This life of this node. */
  readonly self: MemberFacts
  readonly random: Random
  /** @default 'lan' */
  readonly detection?: SwimPreset | DetectionOptions | undefined
  /** `probeIntervalMs` is taken from the detection. @default { strategy: 'keep-majority' } */
  readonly downing?: DowningOptions | undefined
  /** See `BootstrapOptions`. @default 1 */
  readonly expect?: number | undefined
  /** See `BootstrapOptions`. @default none */
  readonly required?: BootstrapOptions['required']
}

/** `MembershipOptions` for each of the parts. */
export interface CheckedMembershipOptions {
  readonly self: MemberFacts
  readonly random: Random
  readonly swim: DetectionOptions
  readonly downing: DowningOptions
  readonly bootstrap: BootstrapOptions
  readonly membersMax: number
  /** A tick that comes so late may have slept through the node's own removal: half of the shortest suspicion. */
  readonly holdAfterMs: number
}

/**
 * How long a node waits for its first seeds before it founds a cluster alone. Long on one machine too: there a seed that
 * does not listen refuses at once, and one that is only slow to answer must be waited for.
 */
const aloneAfterMs = { local: 5_000, lan: 5_000, wan: 15_000 } as const

/** Fills in what depends on other options. @throws {RangeError} if an option is out of range. */
export function checkMembershipOptions(options: MembershipOptions): CheckedMembershipOptions {
  const { self, random, detection = 'lan', expect, required } = options
  const swim: DetectionOptions = typeof detection === 'string' ? { preset: detection } : detection
  const figures = checkSwimOptions({ ...swim, self, random })
  const { probeIntervalMs, suspicionMult, membersMax } = figures
  return {
    self,
    random,
    swim,
    membersMax,
    downing: { ...options.downing, probeIntervalMs: options.downing?.probeIntervalMs ?? probeIntervalMs },
    bootstrap: {
      name: self.name,
      address: self.address,
      expect,
      required,
      stableMs: probeIntervalMs,
      aloneAfterMs: aloneAfterMs[swim.preset ?? 'lan'],
    },
    // A longer sleep than this may have cost the node its membership: the shortest suspicion lasts twice as long.
    holdAfterMs: (suspicionMult * probeIntervalMs) / 2,
  }
}
