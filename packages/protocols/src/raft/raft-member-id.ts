/**
 * Member ids as the group makes and takes them apart: `node@store`. The core only compares them. Names of nodes have no `@`
 * in them; ids of stores may.
 */
import type { MemberId, RaftConfiguration } from './raft-message.ts'

/** The member that the store `store` on the node `node` is. */
export function memberId(node: string, store: string): MemberId {
  return `${node}@${store}`
}

/** Name of the member's node. */
export function nodeOfMember(member: MemberId): string {
  const at = member.indexOf('@')
  return at < 0 ? member : member.slice(0, at)
}

/** Id of the member's store. */
export function storeOfMember(member: MemberId): string {
  const at = member.indexOf('@')
  return at < 0 ? '' : member.slice(at + 1)
}

/** True if the configuration names the member in any part. */
export function isMemberOf(configuration: RaftConfiguration, member: MemberId): boolean {
  return (
    configuration.voters.includes(member) ||
    configuration.outgoing.includes(member) ||
    configuration.learners.includes(member) ||
    configuration.learnersNext.includes(member)
  )
}

/** Everybody in the configuration, each once, sorted. */
export function membersOf(configuration: RaftConfiguration): readonly MemberId[] {
  const { voters, outgoing, learners, learnersNext } = configuration
  return [...new Set([...voters, ...outgoing, ...learners, ...learnersNext])].sort()
}
