/** Which figures a group has in a run: what the network of that seed allows. */
import type { World } from '@understudy/cluster/simulation'

/** One way. Two such ways, and what disks and elections need beside them, fit into E of `local`, which is 200 ms. */
const farthestMsMax = 50

/**
 * Draws the preset. With `local`, E is as long as one round trip between machines that are 100 ms apart: whoever is elected
 * steps down again before it has heard anybody, for ever. Safety has to hold with that too, but nothing can be asked to settle.
 */
export function drawnPreset<const Preset extends string>(
  world: World,
  presets: readonly Preset[],
): Preset | 'lan' {
  const preset = presets[world.choose(presets.length, 'swarm/preset')] ?? 'lan'
  return preset === 'local' && world.network.farthestMs > farthestMsMax ? 'lan' : preset
}
