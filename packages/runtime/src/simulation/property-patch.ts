/** Puts a gate in front of functions, classes and values where they stand, and takes it away so that nothing shows. */

/** What a gate decides about a call of somebody it watches. It may throw, too. */
export type Admission = 'pass' | 'as-nobody'

/** Whoever stands at the gate. `R` is what the patches were made for: it is handed back. */
export interface Gate<R> {
  /** Asked at every call, also of those who are none of its business: cheap. */
  readonly isWatching: () => boolean
  /** `entry` is the function on the stack at whose caller a stack trace should begin. */
  readonly admit: (
    call: string,
    rule: R,
    args: readonly unknown[],
    isNew: boolean,
    entry: Callable,
  ) => Admission
  /** Runs `act` unwatched. */
  readonly asNobody: <T>(act: () => T) => T
}

export type Callable = (this: unknown, ...args: unknown[]) => unknown

interface Patch {
  readonly holder: object
  readonly key: PropertyKey
  readonly before: PropertyDescriptor
  readonly ours: PropertyDescriptor
}

const promisified = Symbol.for('nodejs.util.promisify.custom')

export class PropertyPatches<R> {
  readonly #gate: Gate<R>
  /** Kept over removals: patching again is cheap, and whoever kept a gated function meets the same gate. */
  readonly #gated = new WeakMap<object, object>()
  #patches: Patch[] = []

  constructor(gate: Gate<R>) {
    this.#gate = gate
  }

  /**
   * Gates the function or class that `key` holds, on `holder` or on one of its prototypes: it is asked for at each call.
   * `call` names it in messages. Does nothing when it is not there, or cannot be changed.
   */
  addCall(holder: object, key: PropertyKey, call: string, rule: R): void {
    this.#put(holder, key, (owner, before) => {
      if (isCallable(before.value)) return { ...before, value: this.#gatedValue(before.value, call, rule) }
      return before.get === undefined ? undefined : this.#gatedLater(owner, key, before, call, rule)
    })
  }

  /** Gates the value that `key` holds: it is asked for at each look. */
  addValue(holder: object, key: PropertyKey, call: string, rule: R): void {
    const gate = this.#gate
    this.#put(holder, key, (_owner, { get, set, value, enumerable = false }) => {
      const read = function (this: unknown): unknown {
        const look = (): unknown => (get === undefined ? value : Reflect.apply(get, this, []))
        if (!gate.isWatching() || gate.admit(call, rule, [], false, read) === 'pass') return look()
        return gate.asNobody(look)
      }
      return { get: read, ...(set === undefined ? {} : { set }), enumerable, configurable: true }
    })
  }

  /** Puts everything back as it was. What somebody else has put in the place of a gate meanwhile stays. */
  removeAll(): void {
    for (const { holder, key, before, ours } of this.#patches.reverse()) {
      const now = Reflect.getOwnPropertyDescriptor(holder, key)
      if (now !== undefined && now.value === ours.value && now.get === ours.get) {
        Reflect.defineProperty(holder, key, before)
      }
    }
    this.#patches = []
  }

  #put(
    holder: object,
    key: PropertyKey,
    make: (owner: object, before: PropertyDescriptor) => PropertyDescriptor | undefined,
  ): void {
    const owner = ownerOf(holder, key)
    const before = owner === undefined ? undefined : Reflect.getOwnPropertyDescriptor(owner, key)
    if (owner === undefined || before === undefined) return
    const ours = make(owner, before)
    // A frozen thing stays as it is.
    if (ours !== undefined && Reflect.defineProperty(owner, key, ours)) {
      this.#patches.push({ holder: owner, key, before, ours })
    }
  }

  /** Behind a getter stands what Node loads at the first look. It is gated when somebody looks. */
  #gatedLater(
    owner: object,
    key: PropertyKey,
    before: PropertyDescriptor,
    call: string,
    rule: R,
  ): PropertyDescriptor {
    const get = (): unknown => {
      const value: unknown = this.#gate.asNobody(() => Reflect.apply(before.get as Callable, owner, []))
      // Some getters put what they loaded in their own place: take that back.
      if (Reflect.getOwnPropertyDescriptor(owner, key)?.get !== get) Reflect.defineProperty(owner, key, ours)
      return isCallable(value) ? this.#gatedValue(value, call, rule) : value
    }
    const ours: PropertyDescriptor = { ...before, get }
    return ours
  }

  #gatedValue(original: Callable, call: string, rule: R): object {
    const known = this.#gated.get(original)
    if (known !== undefined) return known
    const gated = isClass(original)
      ? this.#gatedClass(original, call, rule)
      : this.#gatedFunction(original, call, rule)
    this.#gated.set(original, gated)
    this.#gated.set(gated, gated)
    return gated
  }

  /** A proxy: statics, subclasses and `instanceof` stay what they are. */
  #gatedClass(original: Callable, call: string, rule: R): object {
    const gate = this.#gate
    const construct = (target: Callable, args: unknown[], newTarget: Callable): object => {
      const make = (): object => Reflect.construct(target, args, newTarget) as object
      if (!gate.isWatching()) return make()
      return gate.admit(`new ${call}`, rule, args, true, construct as Callable) === 'pass'
        ? make()
        : gate.asNobody(make)
    }
    const apply = (target: Callable, self: unknown, args: unknown[]): unknown => {
      const make = (): unknown => Reflect.apply(target, self, args)
      if (!gate.isWatching()) return make()
      return gate.admit(call, rule, args, false, apply as Callable) === 'pass' ? make() : gate.asNobody(make)
    }
    return new Proxy(original, { construct, apply })
  }

  /** A function with the same name, length and properties; those that are functions are gated too. */
  #gatedFunction(original: Callable, call: string, rule: R): object {
    const gate = this.#gate
    // A method has no prototype and cannot be constructed, as builtin functions.
    const { entry } = {
      entry(this: unknown, ...args: unknown[]): unknown {
        if (!gate.isWatching()) return Reflect.apply(original, this, args)
        const admission = gate.admit(call, rule, args, false, entry)
        if (admission === 'pass') return Reflect.apply(original, this, args)
        return gate.asNobody(() => Reflect.apply(original, this, args))
      },
    }
    // At once: some of Node's functions are properties of themselves.
    this.#gated.set(original, entry)
    for (const key of Reflect.ownKeys(original)) {
      if (key === 'prototype' || key === 'arguments' || key === 'caller') continue
      const property = Reflect.getOwnPropertyDescriptor(original, key) as PropertyDescriptor
      if (isCallable(property.value) && (key === promisified || typeof key === 'string')) {
        const inner = key === promisified ? call : `${call.slice(0, -2)}.${String(key)}()`
        property.value = this.#gatedValue(property.value, inner, rule)
      }
      Reflect.defineProperty(entry, key, property)
    }
    return entry
  }
}

function ownerOf(holder: object, key: PropertyKey): object | undefined {
  for (let at: object | null = holder; at !== null; at = Reflect.getPrototypeOf(at)) {
    if (Object.hasOwn(at, key)) return at === Object.prototype ? undefined : at
  }
  return undefined
}

function isCallable(value: unknown): value is Callable {
  return typeof value === 'function'
}

/** Node's functions begin with a small letter, its classes with a capital. */
function isClass(value: Callable): boolean {
  return /^[A-Z]/.test(value.name)
}
