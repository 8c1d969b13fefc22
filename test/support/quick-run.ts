/**
 * Whether this is `npm test` as it is run between two changes, without filters and without `--all`: what takes longest leaves out
 * its greater part then. Run by itself, or by `.ci/run`, every file does all of its work.
 */
export const isQuickRun = process.env['TEST_QUICK'] === '1'

/** For tests that are left out of a quick run: `void test(name, notInQuickRun, ...)`. */
export const notInQuickRun = isQuickRun ? { skip: 'takes long: npm test -- --all runs it' } : {}
