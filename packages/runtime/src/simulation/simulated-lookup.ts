/**
 * Files and names as a simulated process meets them: the machine's files, the simulation's names, and the time that it
 * takes to read and ask. A dead process hears of nothing any more.
 */
import type { Dns } from '../platform/dns.ts'
import { fileUnreadable, type Files } from '../platform/files.ts'
import type { VirtualFiles } from '../platform/virtual-files.ts'
import type { DiskControls } from './disk-controls.ts'
import type { SimulatedLife } from './simulated-life.ts'
import { never } from './store-session.ts'

/** How long a question to the name server takes at least, and at most more, in milliseconds. */
const dnsLeastMs = 0.5
const dnsJitterMs = 100
/** How long a change of a file takes to be heard of, at most, in milliseconds: what a real watch gathers. */
const watchMs = 50

/** `files`, those of the machine of `life`, as slow, as stalled and as failing as its disk, `controls`, is. */
export function simulatedFiles(life: SimulatedLife, files: VirtualFiles, controls: DiskControls): Files {
  const { machine, simulation } = life
  return {
    readText: (path, maxBytes) =>
      whenDone(life, 'file-read', controls.doneAtMs(life.departsAtMs, 'read'), () => {
        if (!controls.takeFailure('read')) return files.read(path, maxBytes)
        simulation.state(machine.name, `read error at "${path}"`)
        throw fileUnreadable(path, 'the machine says EIO')
      }),
    watch: (path, onChange) => {
      let isOver = false
      const watching = files.watch(path, () => {
        const afterMs = (simulation.choices.choose(256, `file-watch/${machine.name}`) / 255) * watchMs
        life.at(simulation.nowMs + afterMs, 'file-changed', () => {
          if (!isOver) onChange()
        })
      })
      const end = (): void => {
        isOver = true
        watching[Symbol.dispose]()
      }
      life.onKill(end)
      return { [Symbol.dispose]: end }
    },
  }
}

/** The names of the simulation, after the time that asking takes. */
export function simulatedDns(life: SimulatedLife): Dns {
  const { machine, simulation } = life
  const doneAtMs = (): number => {
    // Cubed: mostly short, with a long tail.
    const part = (simulation.choices.choose(256, `dns/${machine.name}`) / 255) ** 3
    return life.departsAtMs + dnsLeastMs + part * dnsJitterMs
  }
  return {
    a: (host) => whenDone(life, 'dns', doneAtMs(), () => simulation.dns.askHost(host)),
    srv: (name) => whenDone(life, 'dns', doneAtMs(), () => simulation.dns.askService(name)),
  }
}

/** What `look` sees at that time. Never settles in a process that is dead by then. */
function whenDone<T>(life: SimulatedLife, label: string, atMs: number, look: () => T): Promise<T> {
  if (!life.isAlive) return never()
  const end = life.beginOperation()
  return new Promise((resolve, reject) => {
    life.at(atMs, label, () => {
      end()
      try {
        resolve(look())
      } catch (error) {
        reject(error as Error)
      }
    })
  })
}
