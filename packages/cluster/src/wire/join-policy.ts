/**
 * Who may join, beyond having the secret: by name, by where the connection comes from, by certificate, or by whatever
 * the application asks. Judged at both ends once the peer has proved itself; the refusal is part of what is signed. It
 * names the rule and not what is in it: a list of who may come is of use to who may not.
 */
import { inAddressRange, ipBytes, parseAddressRange } from './address-range.ts'
import type { PeerFacts } from './handshake-core.ts'
import type { Refusal } from './refusal.ts'
import { fitting } from './unsendable.ts'

/** Rules; a peer must pass each that is given. Should be the same on all nodes. */
export interface JoinPolicy {
  /** Names that are let in; `*` stands for any characters, none included. Up to 1,024. @default all */
  readonly names?: readonly string[] | undefined
  /**
   * Where connections may come from: ranges such as `10.0.0.0/8` and `fd00::/8`, addresses, or exact host names. The
   * address of the socket is asked, not the one that the peer says of itself. A host name that this node dialled is let
   * pass: what stands behind it only the resolver knows. Up to 1,024. @default anywhere
   */
  readonly addresses?: readonly string[] | undefined
  /**
   * The node's name must be one of the names in its certificate, letter by letter: then who has a certificate cannot
   * take another's name. Names in certificates are read in lower case, so node names must be in lower case, too; a
   * wildcard in a certificate is the name of nobody. @default false
   */
  readonly nameFromCertificate?: boolean | undefined
  /**
   * Asked last. True lets in; a text refuses, and is told to the peer; so does anything else, a throw included. Must be
   * quick, and must not wait.
   */
  readonly check?: ((facts: JoinFacts) => true | string) | undefined
}

/** What is known of who wants to join. */
export interface JoinFacts extends PeerFacts {
  /** The other end of the socket, an address or, where this node dialled a name, that name; '' if unknown. */
  readonly remoteHost: string
  /** Whether this node dialled. */
  readonly dialled: boolean
  /** The names in the verified certificate of the peer; undefined without one. */
  readonly peerNames: readonly string[] | undefined
}

/** A policy, checked: a refusal, or undefined for who may come in. Never throws. */
export type JoinJudge = (facts: JoinFacts) => Refusal | undefined

const rulesMax = 1_024
const reasonCharsMax = 512
const namePattern = /^[A-Za-z0-9._*-]{1,128}$/

/**
 * Checks a policy and makes it ready.
 *
 * @throws {RangeError} if a pattern or a range is not of its form, or there are more than 1,024 of them.
 */
export function joinJudge(policy: JoinPolicy): JoinJudge {
  const { names, addresses, nameFromCertificate = false, check } = policy
  for (const [rule, list] of [
    ['names', names],
    ['addresses', addresses],
  ] as const) {
    if (list === undefined || (Array.isArray(list) && list.length <= rulesMax)) continue
    throw new RangeError(`Cannot use "${rule}" of the join policy: it must be a list of at most ${rulesMax}`)
  }
  for (const name of names ?? []) {
    if (namePattern.test(name)) continue
    throw new RangeError(
      `Cannot use "${name}" as a name in the join policy: it must be 1 to 128 of A-Z a-z 0-9 . _ - and *`,
    )
  }
  const ranges = addresses?.map((text) => parseAddressRange(text))

  return function judge(facts) {
    if (names !== undefined && !names.some((pattern) => matchesName(pattern, facts.node))) {
      return notAdmitted(facts, 'names', 'its name is not among those that may join')
    }
    // What is no address is a name, and only one that we dialled ourselves may be one.
    const isNamed = facts.dialled && facts.remoteHost !== '' && ipBytes(facts.remoteHost) === undefined
    if (
      ranges !== undefined &&
      !isNamed &&
      !ranges.some((range) => inAddressRange(range, facts.remoteHost))
    ) {
      return notAdmitted(facts, 'addresses', 'it connects from an address from where none may join')
    }
    if (nameFromCertificate && facts.peerNames?.includes(facts.node) !== true) {
      return notAdmitted(facts, 'nameFromCertificate', 'its name is not in its certificate')
    }
    if (check === undefined) return undefined
    const answer = asked(check, facts)
    if (answer === true) return undefined
    return notAdmitted(facts, 'check', typeof answer === 'string' ? answer : 'it was not let in')
  }
}

/** Whether `name` fits `pattern`, in which `*` stands for any characters. Linear but for the number of stars. */
export function matchesName(pattern: string, name: string): boolean {
  const [first = '', ...rest] = pattern.split('*')
  const last = rest.pop()
  if (last === undefined) return name === first
  if (name.length < first.length + last.length || !name.startsWith(first) || !name.endsWith(last))
    return false
  const until = name.length - last.length
  let at = first.length
  for (const part of rest) {
    const found = name.indexOf(part, at)
    if (found < 0 || found + part.length > until) return false
    at = found + part.length
  }
  return true
}

function asked(check: NonNullable<JoinPolicy['check']>, facts: JoinFacts): unknown {
  try {
    return check(facts)
  } catch {
    // Who cannot be judged stays outside; what was thrown is nothing for the peer to read.
    return undefined
  }
}

function notAdmitted(facts: JoinFacts, rule: string, why: string): Refusal {
  return {
    code: 'CLUSTER_NOT_ADMITTED',
    reason: fitting(`The join policy (${rule}) does not let node "${facts.node}" in: ${why}`, reasonCharsMax),
  }
}
