/**
 * The systems that can be measured, one entry each, in the order of the table's columns.
 * To add one, write its module (a named export `system` of type `System`) and list it here.
 */

/** Where a system comes from, which decides how it is treated: only `own` systems have targets. */
export type SystemKind = 'own' | 'limit' | 'peer'

/** One system of the list. */
export interface SystemEntry {
  readonly name: string
  readonly kind: SystemKind
  /** The module to import in the system's process. */
  readonly module: URL
  /** For a peer: the npm package under bench/peers that has to be installed. */
  readonly package?: string
}

/** The name of the system that ratios are taken to. */
export const LIMIT_NAME = 'limit'

/** Seen from bench/dist/systems: compiled systems lie beside this file, peers are plain JavaScript. */
export const SYSTEMS: readonly SystemEntry[] = Object.freeze([
  { name: 'understudy', kind: 'own', module: new URL('./understudy.js', import.meta.url) },
  { name: LIMIT_NAME, kind: 'limit', module: new URL('./limit.js', import.meta.url) },
  peer('xstate'),
  peer('nact'),
  peer('comedy'),
  peer('effect'),
  peer('moleculer'),
])

function peer(name: string): SystemEntry {
  return {
    name,
    kind: 'peer',
    module: new URL(`../../peers/adapters/${name}.js`, import.meta.url),
    package: name,
  }
}
