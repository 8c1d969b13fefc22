import { virtualPlatform } from '@understudy/runtime/testkit'
import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'

type Bench = import('../../packages/cluster/src/testkit/discovery-contract.ts').DiscoveryBench
type ContractTest = import('../../packages/cluster/src/testkit/transport-contract.ts').ContractTest
type Declare = import('../../packages/cluster/src/testkit/transport-contract.ts').DeclareTest
type DnsService = import('../../packages/runtime/src/platform/dns.ts').DnsService

const { contractAddresses, discoveryContract } = await sourceModule<
  typeof import('../../packages/cluster/src/testkit/discovery-contract.ts')
>('cluster', 'testkit/discovery-contract')
const { staticDiscovery } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/static-discovery.ts')
>('cluster', 'membership/static-discovery')
const { fileDiscovery } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/file-discovery.ts')
>('cluster', 'membership/file-discovery')
const { dnsDiscovery } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/dns-discovery.ts')
>('cluster', 'membership/dns-discovery')
const { Simulation } = await sourceModule<
  typeof import('../../packages/runtime/src/simulation/simulation.ts')
>('runtime', 'simulation/simulation')
const { SimulatedMachine } = await sourceModule<
  typeof import('../../packages/runtime/src/simulation/simulated-machine.ts')
>('runtime', 'simulation/simulated-machine')

type VirtualFiles = ReturnType<typeof virtualPlatform>['files']
type VirtualDns = ReturnType<typeof virtualPlatform>['dns']
type Source = Pick<Bench, 'discovery' | 'publish' | 'breakDown'>

const path = '/etc/seeds'
const host = 'nodes.example.org'
const service = '_understudy._tcp.example.org'

function fileSource(files: VirtualFiles): Source {
  const publish = (addresses: readonly string[]): void => {
    files.mend(path)
    files.write(path, `# seeds\n${addresses.join('\n')}\n`)
  }
  publish(contractAddresses)
  return {
    discovery: fileDiscovery({ path, refreshMs: 86_400_000 }),
    publish,
    breakDown: () => files.remove(path),
  }
}

function hostSource(dns: VirtualDns): Source {
  const publish = (addresses: readonly string[]): void => {
    dns.mend(host)
    dns.setHost(
      host,
      addresses.map((address) => hostOf(address)),
    )
  }
  publish(contractAddresses)
  return { discovery: dnsDiscovery({ host, port: 7001 }), publish, breakDown: () => dns.break(host) }
}

function serviceSource(dns: VirtualDns): Source {
  const publish = (addresses: readonly string[]): void => {
    dns.mend(service)
    const places: DnsService[] = addresses.map((address) => ({
      name: hostOf(address),
      port: 7001,
      priority: 1,
      weight: 1,
    }))
    dns.setService(service, places)
  }
  publish(contractAddresses)
  return { discovery: dnsDiscovery({ service }), publish, breakDown: () => dns.break(service) }
}

function hostOf(address: string): string {
  return address.slice('ws://'.length, address.lastIndexOf(':')).replace(/^\[|\]$/g, '')
}

function virtualBench(source: (platform: ReturnType<typeof virtualPlatform>) => Source): () => Bench {
  return () => {
    const platform = virtualPlatform()
    return {
      ...source(platform),
      platform,
      pass: () => platform.advance(60_000),
      held: () => platform.pendingTimers() + platform.files.watches,
    }
  }
}

const sources = {
  static: () => ({ discovery: staticDiscovery(contractAddresses) }),
  file: ({ files }: { readonly files: VirtualFiles }) => fileSource(files),
  'dns host': ({ dns }: { readonly dns: VirtualDns }) => hostSource(dns),
  'dns service': ({ dns }: { readonly dns: VirtualDns }) => serviceSource(dns),
}

for (const [name, source] of Object.entries(sources)) {
  void test(`${name} discovery keeps the contract of Discovery`, async (t) => {
    discoveryContract((title, run) => t.test(title, (own) => run(own)), virtualBench(source))
  })
}

/** An assertion that fails looks at the clock, which nobody may within a simulation. */
function outside({ guard }: InstanceType<typeof Simulation>, t: ContractTest): ContractTest {
  return {
    equal: (found: unknown, wanted: unknown, message?: string) =>
      guard.outside(() => t.equal(found, wanted, message ?? '')),
    same: (found: unknown, wanted: unknown, message?: string) =>
      guard.outside(() => t.same(found, wanted, message ?? '')),
    ok: (found: unknown, message?: string) => guard.outside(() => t.ok(found, message ?? '')),
    teardown: () => undefined,
  }
}

void test('each discovery keeps the contract in a simulated process', async (t) => {
  for (const seed of [1, 2, 3]) {
    for (const [name, source] of Object.entries(sources)) {
      let simulation: InstanceType<typeof Simulation> | undefined
      const declare: Declare = (title, run) =>
        t.test(`${name}, seed ${seed}: ${title}`, async (own) => {
          const mine = new Simulation({ seed })
          simulation = mine
          const { violation } = await mine.run(() => run(outside(mine, own)))
          if (violation !== undefined) own.fail(`${violation.name}: ${violation.message}`)
        })
      discoveryContract(declare, () => {
        if (simulation === undefined) throw new Error('no test is running')
        const world = simulation
        const machine = new SimulatedMachine(world, 'a')
        return {
          ...source({ files: machine.files, dns: world.dns }),
          platform: machine.start().platform,
          pass: () => world.sleep(120_000),
        }
      })
    }
  }
})
