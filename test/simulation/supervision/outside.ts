/** The world outside of the actors, for simulated actors: a service that takes its time. */
import { service, type ServiceBinding } from '@understudy/runtime'
import type { SystemWorld } from '@understudy/runtime/simulation'

export interface Outside {
  /** Resolves after `ms` of true time; never in a process that was killed meanwhile. */
  readonly wait: (ms: number) => Promise<void>
}

export const Outside = service<Outside>('outside')

export function simulatedOutside(world: SystemWorld): ServiceBinding {
  return Outside.provide({
    wait: (ms) => {
      const { process, simulation } = world
      const end = process.beginOperation()
      return new Promise((resolve) => {
        simulation.at(process.departsAtMs + ms, process, 'outside', () => {
          end()
          resolve()
        })
      })
    },
  })
}
