/** Files and names in the simulator: what a process reads takes time, and a dead one hears of nothing any more. */
import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'

const { Simulation } = await sourceModule<
  typeof import('../../packages/runtime/src/simulation/simulation.ts')
>('runtime', 'simulation/simulation')
const { SimulatedMachine } = await sourceModule<
  typeof import('../../packages/runtime/src/simulation/simulated-machine.ts')
>('runtime', 'simulation/simulated-machine')
const { fileDiscovery } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/file-discovery.ts')
>('cluster', 'membership/file-discovery')
const { dnsDiscovery } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/dns-discovery.ts')
>('cluster', 'membership/dns-discovery')

type World = InstanceType<typeof Simulation>
type Machine = InstanceType<typeof SimulatedMachine>

async function onMachine(
  seed: number,
  scenario: (world: World, machine: Machine) => Promise<void>,
): Promise<string> {
  const simulation = new Simulation({ seed })
  const machine = new SimulatedMachine(simulation, 'a')
  const result = await simulation.run(() => scenario(simulation, machine))
  if (result.violation !== undefined) throw new Error(`${result.violation.name}: ${result.violation.message}`)
  return result.hash
}

void test('a simulated file is read after a while, and its change is heard of after another', async (t) => {
  const log: string[] = []
  await onMachine(1, async (world, machine) => {
    const { files } = machine.start().platform
    machine.files.write('x', 'one')
    const watching = files.watch('x', () => void log.push(`changed ${world.nowMs > 0}`))
    log.push(await files.readText('x', 10), String(world.nowMs > 0))
    machine.files.write('x', 'two')
    log.push('written')
    await world.sleep(100)
    await files.readText('x', 2).catch((error: { code: string }) => log.push(error.code))
    watching[Symbol.dispose]()
    machine.files.remove('x')
    await world.sleep(100)
    await files.readText('x', 2).catch((error: { code: string }) => log.push(error.code))
    machine.disk.controls.failReads(1)
    await files.readText('x', 2).catch((error: { code: string }) => log.push(error.code))
    await files.readText('x', 0).catch((error: { name: string }) => log.push(error.name))
  })
  t.same(log, [
    ...['one', 'true', 'written', 'changed true', 'RUNTIME_FILE_TOO_BIG', 'RUNTIME_FILE_MISSING'],
    ...['RUNTIME_FILE_UNREADABLE', 'RangeError'],
  ])
})

void test('a simulated process that is killed never learns what it asked for, nor what changed', async (t) => {
  const log: string[] = []
  await onMachine(2, async (world, machine) => {
    world.dns.setHost('n', ['10.0.0.1'])
    machine.files.write('x', 'ws://a:1')
    const life = machine.start()
    const { files, dns } = life.platform
    const told = (what: string) => () => void log.push(what)
    files.readText('x', 10).then(told('read'), told('read failed'))
    dns.a('n').then(told('a'), told('a failed'))
    dns.srv('n').then(told('srv'), told('srv failed'))
    files.watch('x', told('changed'))
    machine.files.write('x', 'ws://b:1')
    life.kill()
    machine.files.write('x', 'ws://c:1')
    files.readText('x', 10).then(told('read, dead'), told('read failed, dead'))
    dns.a('n').then(told('a, dead'), told('a failed, dead'))
    await world.sleep(60_000)
    t.equal(machine.files.watches, 0, 'its watch is gone')
    const next = machine.start().platform
    log.push(await next.files.readText('x', 10), (await next.dns.a('n'))[0]?.address ?? '')
  })
  t.same(log, ['ws://c:1', '10.0.0.1'], 'the next one finds what is there')
})

void test('a simulated process that is paused hears of a change when it goes on', async (t) => {
  const log: string[] = []
  await onMachine(3, async (world, machine) => {
    const life = machine.start()
    life.platform.files.watch(
      'x',
      () => void log.push(`changed at ${world.nowMs >= 5_000 ? 'its end' : 'once'}`),
    )
    life.pause(5_000)
    machine.files.write('x', 'one')
    await world.sleep(10_000)
  })
  t.same(log, ['changed at its end'])
})

void test('discovery in the simulator is the same in every run of a seed', async (t) => {
  const run = async (seed: number) => {
    const lines: string[] = []
    const hash = await onMachine(seed, async (world, machine) => {
      const { platform } = machine.start()
      const told = (addresses: readonly string[]) => void lines.push(`${world.nowMs} ${addresses.join()}`)
      const failed = ({ code }: { readonly code: string }) => void lines.push(`${world.nowMs} ${code}`)
      fileDiscovery({ path: 'x' }).start(platform, told, failed)
      dnsDiscovery({ host: 'n', port: 1 }).start(platform, told, failed)
      for (let n = 1; n <= 20; n++) {
        machine.files.write('x', `ws://n${n}:1`)
        world.dns.setHost('n', [`10.0.0.${n}`])
        await world.sleep(world.choices.choose(8_000, 'pace'))
      }
    })
    return { hash, lines }
  }
  const first = await run(7)
  t.same(await run(7), first)
  t.ok(first.lines.length > 20, `${first.lines.length} lines`)
  t.not((await run(8)).hash, first.hash)
})
