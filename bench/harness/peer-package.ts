/** Packages of others that benchmarks use when they are installed: `npm run bench:peers`. */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'

const folder = new URL('../../peers/', import.meta.url)

/** Whether it lies in peers/node_modules. */
export function isPeerInstalled(name: string): boolean {
  return existsSync(new URL(`node_modules/${name}/package.json`, folder))
}

/** Loads a CommonJS package from there; the caller says what it is. */
export function requirePeer(name: string): unknown {
  return createRequire(new URL('package.json', folder))(name)
}
