/** The identity of a store: made with it, kept for its life. Another store has another, also on the same machine. */
import type { Store } from './store.ts'

/** Where it stands. A backup leaves this key out, so that a copy is another store. */
export const storeIdKey = 'understudy/store/id'

/** 64 bits: enough for the stores that ever meet in one cluster. */
const idBytes = 8

/**
 * The id of `store`: 16 hex digits, drawn and made durable when nobody has asked before. Ask through the store itself or
 * through one and the same scope, and wait for the answer before you ask again: two first calls at once draw two.
 *
 * @param secureBytes `platform.secureBytes`
 * @throws {StoreError} as `get` and `write`; a damaged id is `RUNTIME_STORE_CORRUPT`, never drawn anew
 */
export async function storeId(store: Store, secureBytes: (count: number) => Uint8Array): Promise<string> {
  const found = await store.get(storeIdKey)
  if (found !== undefined) return new TextDecoder().decode(found)
  const id = Array.from(secureBytes(idBytes), (byte) => byte.toString(16).padStart(2, '0')).join('')
  await store.write([{ type: 'put', key: storeIdKey, value: new TextEncoder().encode(id) }])
  return id
}
