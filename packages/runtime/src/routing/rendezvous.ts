/**
 * Rendezvous hashing (Thaler and Ravishankar, "A name-based mapping scheme for rendezvous", 1996): every candidate bids
 * for a key with a hash of both, and the highest bid wins. When a candidate goes, only its own keys move; when one
 * comes, it takes its share evenly from all. Costs one multiplication chain per candidate. Pure.
 */

/** A 32-bit hash of `text`, the same on every machine. For keys and for the names of candidates. */
export function rendezvousHash(text: string): number {
  let hash = 0x9747b28c
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x5bd1e995)
    hash ^= hash >>> 15
  }
  return finish(hash ^ text.length)
}

/**
 * The index of the candidate that owns the key. Both sides are given as hashes, so that a candidate's is made once.
 * Of equal bids the first one wins. -1 when there are no candidates.
 */
export function rendezvousOwner(keyHash: number, candidateHashes: readonly number[]): number {
  let owner = -1
  let highest = -1
  for (let index = 0; index < candidateHashes.length; index++) {
    const bid = finish(keyHash ^ (candidateHashes[index] as number))
    if (bid > highest) {
      highest = bid
      owner = index
    }
  }
  return owner
}

/** MurmurHash3's finalizer: each bit of the input changes each bit of the output with probability one half. */
function finish(word: number): number {
  word = Math.imul(word ^ (word >>> 16), 0x85ebca6b)
  word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35)
  return (word ^ (word >>> 16)) >>> 0
}
