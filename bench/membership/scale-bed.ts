/**
 * The virtual network of SWIM cores that the tests use, as far as this bench needs it. The tests depend on the bench, so it is
 * loaded rather than imported; `test/bench/membership.test.ts` holds the two together.
 */

/** What it was told or said, at what time. */
export interface ScaleEvent {
  readonly atMs: number
  readonly node: string
  readonly effect: { readonly type: string; readonly member?: { readonly name: string } | undefined }
}

/** `SwimBed`: many cores in one virtual time, all alive and known to each other from the beginning. */
export interface ScaleBed {
  readonly nowMs: number
  events: readonly ScaleEvent[]
  readonly running: readonly { readonly name: string }[]
  readonly runFor: (ms: number) => void
  readonly crash: (name: string) => void
  readonly input: (
    name: string,
    input: {
      readonly type: 'remove'
      readonly name: string
      readonly incarnation: number
      readonly reason: string
    },
  ) => void
  readonly totals: () => { readonly messages: number; readonly bytes: number }
  readonly resetCounters: () => void
}

/** Options of a bed; `loss` is the chance of each message to be lost. */
export interface ScaleBedOptions {
  readonly nodes: number
  readonly seed: number
  readonly loss: number
  /** Whether encoded bytes are counted. */
  readonly bytes: boolean
}

export type MakeScaleBed = (options: ScaleBedOptions) => ScaleBed

/** Loads it from the built tests. */
export async function loadScaleBed(): Promise<MakeScaleBed> {
  const url = new URL('../../../test/dist/support/swim-bed.js', import.meta.url)
  const { SwimBed } = (await import(url.href)) as {
    readonly SwimBed: new (options: ScaleBedOptions) => ScaleBed
  }
  return (options) => new SwimBed(options)
}
