/** Outside IO (HTTP, files, SQL) as typed services, given to the system at its start and read through `ctx.service`. */

declare const serviceType: unique symbol

/** Names a service and its type. Made by `service()`. */
export interface ServiceKey<T> {
  readonly name: string
  readonly [serviceType]?: (value: T) => T
  /** An implementation of this service, for `createSystem(..., { services: [Files.provide(...)] })`. */
  readonly provide: (implementation: T) => ServiceBinding
}

/** One service with its implementation. */
export interface ServiceBinding {
  readonly name: string
  readonly implementation: unknown
}

/** Declares a service: `const Files = service<FileReader>('files')`. The name is unique per system. */
export function service<T>(name: string): ServiceKey<T> {
  return Object.freeze({ name, provide: (implementation: T) => Object.freeze({ name, implementation }) })
}
