/** What the options of all services on a consensus group, and of their clients, are checked and completed by. */

/** Schema of a service's name: it is part of a path. */
export const serviceName = { type: 'string', pattern: '^[A-Za-z0-9_-]{1,48}$' } as const

/** Schema of a time in milliseconds. */
export const milliseconds = { type: 'number', minimum: 1 } as const

/** `defaults`, and over them what is given of them: an option that is undefined is one that was left out. */
export function withDefaults<Checked extends object>(
  defaults: Checked,
  options: { readonly [K in keyof Checked]?: Checked[K] | undefined },
): Checked {
  const given: Partial<Checked> = {}
  for (const name of Object.keys(defaults) as (keyof Checked)[]) {
    const value = options[name]
    if (value !== undefined) given[name] = value
  }
  return { ...defaults, ...given }
}
