/** How whoever watches an example says that it is enough. */

/**
 * Aborted by Ctrl-C, by the end of its terminal, and when nobody reads its output any more, as in `npm run lock | head`. To be
 * called before anything is made that has to be cleared away: from then on none of these ends the process by itself.
 */
export function interrupted(): AbortSignal {
  const enough = new AbortController()
  const interrupt = (): void => enough.abort()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, interrupt)
  process.stdout.on('error', interrupt)
  return enough.signal
}
