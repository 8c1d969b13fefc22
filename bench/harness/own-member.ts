/** A node of this project's own cluster, in a process of its own: what its main module calls. */
import { startNode, type ClusterNode } from '@understudy/cluster'
import { openConsensus, openRaftGroup, type ConsensusGroup, type StateMachine } from '@understudy/protocols'
import { nodePlatform, silentLogger } from '@understudy/runtime'
import { serveCommands } from './command-process.ts'
import { groupName, type OwnCommand, type OwnReport, type OwnStart } from './own-words.ts'

/** Opens a Raft group on all members; what a service takes as its `openGroup`. */
export type OpenRaft = <Result>(group: {
  readonly name: string
  readonly machine: () => StateMachine<Result>
}) => Promise<ConsensusGroup<Result>>

/** Opens one service, whose group has that name. */
export type OpenService = (
  node: ClusterNode,
  name: string,
  openGroup: OpenRaft,
) => Promise<{ readonly group: Pick<ConsensusGroup, 'status'> }>

/** Obeys the parent: starts the node with its services, and tells how their groups stand. */
export function serveOwnMember(openService: OpenService): void {
  const services: Awaited<ReturnType<OpenService>>[] = []
  let groups = 0
  const start = async ({ name, directory, seeds, members }: OwnStart): Promise<string> => {
    const node = await startNode({
      name,
      listen: 'ws://127.0.0.1:0',
      seeds,
      data: directory,
      platform: nodePlatform({ log: silentLogger }),
      handleSignals: false,
    })
    const consensus = await openConsensus(node)
    const openGroup: OpenRaft = (group) =>
      openRaftGroup(consensus, { ...group, members, raft: { preset: 'local' } })
    const opened = Array.from({ length: groups }, (_, group) =>
      openService(node, groupName(group), openGroup),
    )
    void Promise.all(opened).then((all) => services.push(...all))
    return node.address
  }
  serveCommands<OwnCommand, OwnReport>(async (command) => {
    if (command.type === 'start') {
      groups = command.groups
      return { type: 'started', address: await start(command) }
    }
    const statuses = Array.from({ length: groups }, (_, group) => services[group]?.group.status())
    return {
      type: 'groups',
      leaders: statuses.map((status) => status?.leader ?? ''),
      applied: statuses.map((status) => status?.applied ?? -1),
    }
  })
}
