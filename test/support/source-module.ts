/**
 * Loads a built module of a package that no entry point exports, for unit tests of what stands below the API.
 *
 * The type is given by the caller, `sourceModule<typeof import('../../packages/runtime/src/platform/random.ts')>(...)`:
 * a type import is checked like any other, but leaves nothing behind that would have to resolve from `test/dist`.
 */
export async function sourceModule<T>(
  packageName: 'runtime' | 'cluster' | 'protocols',
  path: string,
): Promise<T> {
  const url = new URL(`../../../packages/${packageName}/dist/${path}.js`, import.meta.url)
  return (await import(url.href)) as T
}
