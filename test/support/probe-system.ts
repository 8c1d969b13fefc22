/** A virtual platform on which work takes time. */
import type { Clock } from '@understudy/runtime'
import { virtualPlatform, type VirtualPlatform } from '@understudy/runtime/testkit'

export interface BurningPlatform {
  readonly platform: VirtualPlatform
  /** Pushes the clock on while a handler is on the stack, as a long computation does. */
  readonly burn: (ms: number) => void
}

/** `slotMs` as a real clock has it (10), or exact: with slots the system keeps the time it last looked at. */
export function burningPlatform(slotMs = 0): BurningPlatform {
  const platform = virtualPlatform()
  const { clock } = platform
  let burntMs = 0
  const slow: Clock = {
    ...clock,
    slotMs,
    monotonicMs: () => clock.monotonicMs() + burntMs,
    setTimer: (atMs, fire) => clock.setTimer(atMs - burntMs, fire),
  }
  return {
    platform: { ...platform, clock: slow },
    burn: (ms) => {
      burntMs += ms
    },
  }
}
