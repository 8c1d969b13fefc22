/**
 * What a test expected and what came instead, in words: an expectation that fails must be understood from its message
 * alone, because the line that failed often stands in a helper.
 */

/** Thrown by probes and the behaviour kit when something expected did not come, or something else did. */
export class ExpectationFailed extends Error {
  /** What was expected, as in the message. */
  readonly expected: string
  /** What came instead, oldest first. */
  readonly came: readonly unknown[]

  constructor(message: string, expected: string, came: readonly unknown[]) {
    super(message)
    this.expected = expected
    this.came = came
  }

  override get name(): string {
    return 'ExpectationFailed'
  }
}

const charsMax = 200
const listedMax = 10

/** A message on one line: `"inc" {"by":2}`. */
export function messageText(message: { readonly type: string }): string {
  const { type, ...fields } = message
  return Object.keys(fields).length === 0 ? `"${type}"` : `"${type}" ${valueText(fields)}`
}

/** The last messages of a list, for the end of a sentence. */
export function messagesText(messages: readonly { readonly type: string }[]): string {
  if (messages.length === 0) return 'nothing'
  const shown = messages.slice(-listedMax).map(messageText)
  const left = messages.length - shown.length
  return `${left > 0 ? `${left} more, then ` : ''}${shown.join(', ')}`
}

/** Any value on one line, cut to 200 characters. Never throws. */
export function valueText(value: unknown): string {
  let text: string | undefined
  try {
    text = JSON.stringify(value, (_key, inner: unknown) => {
      if (typeof inner === 'bigint') return `${inner}n`
      if (inner instanceof Error) return `${inner.name}: ${inner.message}`
      return typeof inner === 'function' ? '(function)' : inner
    })
  } catch {
    // Circular, or a toJSON that throws: the type has to do.
  }
  text ??= String(value)
  return text.length <= charsMax ? text : `${text.slice(0, charsMax - 3)}...`
}
