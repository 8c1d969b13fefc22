/** The line format of GNU `sha256sum`, so that `sha256sum -c` can check what we wrote. */

/** One line: a name with a backslash, a newline or a carriage return is escaped, and the line then begins with a backslash. */
export function checksumLine(sha256: string, name: string): string {
  const escaped = name.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('\r', '\\r')
  return `${escaped === name ? '' : '\\'}${sha256}  ${escaped}\n`
}
