/** What the lock protects: a number in a file. Whoever wants to change it shows the token of its lock. */
import { readFile, writeFile } from 'node:fs/promises'
import { guardActor } from '@understudy/protocols'
import { actor, ask, protocol } from '@understudy/runtime'
import Type from 'typebox'

const token = Type.Integer({ minimum: 1 })

export const Ledger = protocol('ledger', {
  read: ask({ token }, Type.Integer()),
  write: ask({ token, value: Type.Integer() }, Type.Integer()),
})

export interface LedgerSettings {
  readonly file: string
  /** False: it takes what comes, from anybody, at any time. */
  readonly isGuarded: boolean
}

export const ledger = actor(Ledger, { name: 'ledger' }, async (_ctx, settings: LedgerSettings) => {
  const { file, isGuarded } = settings
  await writeFile(file, '0\n')
  const handlers = {
    read: async () => Number(await readFile(file, 'utf8')),
    write: async ({ value }: { readonly value: number }) => {
      await writeFile(file, `${value}\n`)
      return value
    },
  }
  // One line is the difference: it remembers the highest token that it was shown, and refuses lower ones.
  return isGuarded ? guardActor<(typeof Ledger)['messages']>(handlers, { name: file }) : handlers
})
