/** Five nodes on five hosts of a network that can be made to lose, to delay and to break. Without namespaces: `skip` says why. */
import type { Test } from 'tap'
import { allSee, eventually, MemberProcess, scratch } from './member-process.ts'
import { HostNetwork, whyNoNamespaces, type Impairment, type Tool } from './network-namespace.ts'

export const names = ['a', 'b', 'c', 'd', 'e']
export const everybody = names.map((name) => `${name} alive`).join(', ')
export const skip = whyNoNamespaces() ?? false
/** Each way, twice: where it leaves, and where it arrives. */
export const bad: Impairment = { lossPercent: 5, delayMs: 50, jitterMs: 20 }
const tools: Readonly<Record<Tool, string>> = {
  netem: 'tc netem loses and delays',
  relay: 'this kernel has no netem: a relay in user space loses and delays each packet',
  filter: 'this kernel has no netem and no VXLAN: packets are lost, but nothing is delayed',
  none: 'this kernel has no netem, no VXLAN, and no filter that drops',
}

/** See docs/decisions/0007-downing.md: suspicion that nobody confirms, stability, margin, and a busy machine. */
const stableMs = 1_000 * (3 + 4 * Math.log10(5))
export const givenUpWithinMs = 24_000 + 2 * stableMs + 10_000

export interface Scene {
  readonly network: HostNetwork
  readonly members: MemberProcess[]
}

export async function startFive(t: Test): Promise<Scene> {
  const network = new HostNetwork(t, names, { delays: true })
  await network.ready()
  t.comment(tools[network.tool])
  const file = scratch(t)
  const seeds = names.map((name) => `ws://${network.address(name)}:7000`)
  const members = names.map((name, index) => {
    const node = {
      name,
      listen: seeds[index] as string,
      seeds,
      secret: 'only for these five hosts',
      membership: 'lan',
      expect: 3,
    } as const
    return new MemberProcess(t, { node, ticksFile: file(`${name}.ticks`) }, network.command(name))
  })
  await Promise.all(members.map((member) => member.started()))
  await allSee(members, everybody, 30_000)
  await eventually('the actors of all act', 10_000, () => {
    return members.every((member) => member.ticks().length > 0) || 'no tick yet'
  })
  return { network, members }
}

/** Of a machine that has neither, said instead of done. */
export function canLose(t: Test, { network }: Scene): boolean {
  if (network.tool !== 'none') return true
  t.pass('skipped', { skip: tools.none })
  return false
}

export function hurtAll({ network }: Scene, impairment: Impairment | undefined): void {
  for (const name of names) network.impair(name, impairment)
}

/** What somebody has found to be over that was not, besides the hosts `but`. */
export function givenUp(members: readonly MemberProcess[], but: readonly string[]): readonly string[] {
  return members.flatMap((member) =>
    [...member.told('member-unreachable'), ...member.told('member-down'), ...member.told('self-removed')]
      .filter(({ name = member.name }) => !but.includes(name))
      .map(({ kind, name = '' }) => `${member.name}: ${kind} ${name}`),
  )
}

export function alive(among: readonly MemberProcess[]): string {
  return among.map(({ name }) => `${name} alive`).join(', ')
}
