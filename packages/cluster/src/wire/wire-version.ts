/**
 * Which wires this node speaks. A version says what the bytes mean: raised when a peer of the version before could not
 * read them, or would sign something else. A feature says what a node does with bytes that both could read: it may be
 * left out by a node of the same version.
 *
 * Two nodes use the highest version that both speak and the features that both offer. Both ends sign both offers, so
 * that nobody between them can talk them down.
 */

/** A range of versions, both ends included. */
export interface VersionRange {
  readonly versionMin: number
  readonly versionMax: number
}

/**
 * What this build speaks. The version before the newest stays for at least one release, so that a cluster can be
 * restarted node by node.
 *
 * 1: one link for each pair of nodes. 2: the hello tells lane, connection, roles, the application's version, the phase
 * and how the node is authenticated, and all of it is signed.
 */
export const wireVersion: VersionRange = Object.freeze({ versionMin: 1, versionMax: 2 })

/** The first version whose hello has lanes and what came with them. Below it those fields are not signed: they do not count. */
export const lanesSince = 2

/** The features there are, by name, and what a node that offers one promises. Names are for ever, as versions are. */
export const wireFeatures = Object.freeze({
  lanes: 'takes links for data and bulk beside the control link, and LANE_WANTED on control',
})

/** The name of a feature. */
export type WireFeature = keyof typeof wireFeatures

/** The first version whose peers can be members: what the membership says to each other is of that version. */
export const membersSince = 2

/** What a node says in its hello that it speaks. */
export interface WireOffer extends VersionRange {
  readonly features: readonly WireFeature[]
}

/** All that this build speaks. */
export const currentWire: WireOffer = Object.freeze({
  ...wireVersion,
  features: Object.freeze(['lanes'] as const),
})

/** The least with which a node of this build is still taken for a member: as the first build of that version. */
export const oldestMemberWire: WireOffer = Object.freeze({
  versionMin: wireVersion.versionMin,
  versionMax: membersSince,
  features: Object.freeze([]),
})

/** `offer`, when this build can keep it. @throws {RangeError} for versions or features that it does not have */
export function checkWireOffer(offer: WireOffer): WireOffer {
  const { versionMin, versionMax, features } = offer
  const isWithin = versionMin >= wireVersion.versionMin && versionMax <= wireVersion.versionMax
  if (!isWithin || versionMin > versionMax) {
    throw new RangeError(
      `Cannot offer versions ${versionMin} to ${versionMax} of the wire: this build speaks ` +
        `${wireVersion.versionMin} to ${wireVersion.versionMax}`,
    )
  }
  const unknown = features.find((feature) => !Object.hasOwn(wireFeatures, feature))
  if (unknown !== undefined) throw new RangeError(`Cannot offer "${unknown}": the wire has no such feature`)
  return offer
}

/** The highest version of both ranges; undefined when they do not meet. */
export function commonVersion(ours: VersionRange, theirs: VersionRange): number | undefined {
  const highest = Math.min(ours.versionMax, theirs.versionMax)
  return highest < Math.max(ours.versionMin, theirs.versionMin) ? undefined : highest
}

/** What both offer, sorted, each once. At version 1 there are none. */
export function commonFeatures(
  version: number,
  ours: readonly string[],
  theirs: readonly string[],
): readonly string[] {
  if (version < lanesSince) return []
  const offered = new Set(ours)
  return [...new Set(theirs)].filter((feature) => offered.has(feature)).sort()
}
