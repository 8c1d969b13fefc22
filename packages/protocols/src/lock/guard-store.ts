/** A store that refuses the past: the highest token stands in it, written together with the data. */
import type { Store, StoreChange } from '@understudy/runtime'
import { fencedError, tokenBytes, tokenFrom, tokenKeyDefault, tokenOf, type Fence } from './guard-memory.ts'

export interface GuardStoreOptions {
  /** In errors. @default 'the guarded store' */
  readonly name?: string | undefined
  /** Where the token stands, among the keys of the store. @default 'understudy/fence' */
  readonly tokenKey?: string | undefined
}

/**
 * Writes to a store, fenced. Reads go to the store itself; a new holder raises first and reads then.
 *
 * The token is in the same atomic batch as the data, so after a crash the store has both or neither, and the guard that is made
 * for it then knows what the one before it knew. One object guards one store (or scope): it reads the token once, and a second
 * one, or somebody who writes past it, would not be seen.
 */
export interface GuardedStore {
  readonly name: string
  /** The highest token that was let in. @throws {StoreError} as `Store.get` */
  readonly highest: () => Promise<number>
  /**
   * As `Store.write`, if no higher token has been let in. Writes become durable in the order of the calls, so none with a lower
   * token comes behind one with a higher.
   *
   * @throws {LockError} (as a rejection) LOCK_FENCED, LOCK_LOST: nothing was written
   * @throws {RangeError} (as a rejection) the batch changes the token's own key
   */
  readonly write: (fence: Fence, batch: readonly StoreChange[]) => Promise<void>
  /** From here on all that is lower is refused: what a new holder does first, before it reads. Resolves when that is durable. */
  readonly raise: (fence: Fence) => Promise<void>
}

/** Guards a store, or one scope of it. */
export function guardStore(store: Store, options: GuardStoreOptions = {}): GuardedStore {
  return new StoreGuard(store, options.name ?? 'the guarded store', options.tokenKey ?? tokenKeyDefault)
}

class StoreGuard implements GuardedStore {
  readonly name: string
  readonly #store: Store
  readonly #tokenKey: string
  #highest = 0
  /** The highest token that is durable. */
  #durable = 0
  #loading: Promise<void> | undefined

  constructor(store: Store, name: string, tokenKey: string) {
    this.#store = store
    this.name = name
    this.#tokenKey = tokenKey
  }

  readonly highest = async (): Promise<number> => {
    await this.#load()
    return this.#highest
  }

  readonly write = async (fence: Fence, batch: readonly StoreChange[]): Promise<void> => {
    if (batch.some(({ key }) => key === this.#tokenKey)) {
      throw new RangeError(
        `Cannot write to "${this.name}": the key "${this.#tokenKey}" holds its token. Use another key, or give the guard ` +
          `another "tokenKey"`,
      )
    }
    await this.#load()
    const token = tokenOf(fence, this.name)
    if (token < this.#highest) throw fencedError(this.name, token, this.#highest)
    this.#highest = token
    const isKnown = token === this.#durable
    const mark: StoreChange = { type: 'put', key: this.#tokenKey, value: tokenBytes(token) }
    await this.#store.write(isKnown ? batch : [...batch, mark])
    this.#durable = Math.max(this.#durable, token)
  }

  readonly raise = (fence: Fence): Promise<void> => this.write(fence, [])

  #load(): Promise<void> {
    this.#loading ??= this.#store.get(this.#tokenKey).then(
      (bytes) => {
        this.#durable = tokenFrom(bytes, this.#tokenKey)
        this.#highest = this.#durable
      },
      (error: unknown) => {
        this.#loading = undefined
        throw error
      },
    )
    return this.#loading
  }
}
