/** The prompt's language: what a line says. Pure; whatever is wrong is a `CommandError` that says what was expected. */
import { endOfPrefix, type KvClientOperation, type KvClientTransaction } from '@understudy/protocols'

export type Command =
  | {
      readonly type: 'put'
      readonly key: string
      readonly value: string
      readonly lease: LeaseWish | undefined
    }
  | ({ readonly type: 'get'; readonly key: string } & ReadWish)
  | ({ readonly type: 'list'; readonly prefix: string } & ReadWish)
  | { readonly type: 'delete'; readonly keys: string | { readonly prefix: string } }
  /** `expected` undefined: the key must not be there. */
  | {
      readonly type: 'cas'
      readonly key: string
      readonly expected: string | undefined
      readonly value: string
    }
  | { readonly type: 'transact'; readonly transaction: KvClientTransaction }
  | { readonly type: 'lease'; readonly seconds: number }
  | { readonly type: 'leases' }
  | { readonly type: 'lease-drop' | 'lease-revoke'; readonly id: number }
  | { readonly type: 'watch'; readonly prefix: string; readonly from: number | undefined }
  | { readonly type: 'unwatch'; readonly number: number | undefined }
  | { readonly type: 'compact'; readonly revision: number }
  | { readonly type: 'kill' | 'stop' | 'cont' | 'wipe' | 'transfer'; readonly node: string }
  | { readonly type: 'wait'; readonly seconds: number }
  | { readonly type: 'status' | 'help' }
  | { readonly type: 'quit' }

interface ReadWish {
  readonly revision: number | undefined
  /** Only from this node, as far as it has come: it may be old. */
  readonly local: string | undefined
}

/** A lease of its own that nobody keeps alive, or one that is there. */
export type LeaseWish = { readonly seconds: number } | { readonly id: number }

/** A line that says nothing that can be done. */
export class CommandError extends Error {}

/** What each command takes, as `help` shows it. */
export const usages: Readonly<Record<string, readonly [usage: string, meaning: string]>> = {
  put: [
    'put KEY VALUE [lease SECONDS | lease #ID]',
    'with SECONDS the key is gone after so long; with #ID when that lease is',
  ],
  get: [
    'get KEY [at REVISION] [local NODE]',
    'the newest, by a majority; local: what that node has, which may be old',
  ],
  list: ['list [PREFIX] [at REVISION] [local NODE]', 'all keys that begin so'],
  delete: ['delete KEY | delete PREFIX*', ''],
  cas: ['cas KEY OLD NEW', 'compare and set: NEW if the value is OLD; OLD - means that there is no such key'],
  transact: [
    'transact [if CONDITION and ...] then OPERATION; ... [else OPERATION; ...]',
    'CONDITION: KEY = VALUE (also != < >, by bytes), version(KEY) = N (also created, modified, lease),\n' +
      'KEY exists, KEY missing; OPERATION: put KEY VALUE, get KEY, delete KEY or PREFIX*',
  ],
  lease: ['lease SECONDS', 'a lease that this prompt keeps alive; answers with its #ID'],
  leases: ['leases', 'those that this prompt keeps alive'],
  'lease-drop': ['lease drop #ID', 'keeps it alive no longer: it ends by itself, and its keys with it'],
  'lease-revoke': ['lease revoke #ID', 'ends it and its keys now'],
  watch: ['watch [PREFIX] [from REVISION]', 'shows each change as it comes, in order, each once'],
  unwatch: ['unwatch [NUMBER]', 'ends one watch, or all'],
  compact: ['compact REVISION', 'forgets what was before it'],
  status: ['status', 'the nodes, as each sees itself; of their members +a is a learner, -a is leaving'],
  kill: ['kill NODE', 'SIGKILL to its process; it starts again after a second. NODE: a, b, c, or leader'],
  stop: ['stop NODE', 'SIGSTOP: its process stands still'],
  cont: ['cont NODE', 'SIGCONT: it goes on'],
  wipe: ['wipe NODE', 'deletes its data directory while it runs'],
  transfer: ['transfer NODE', 'lets that node lead'],
  wait: ['wait SECONDS', 'for scripts'],
  help: ['help', ''],
  quit: ['quit', 'ends the nodes; their data stays'],
}

/** `undefined` when the line is empty or a comment. @throws {CommandError} what is wrong, and what was expected */
export function parseCommand(line: string): Command | undefined {
  const words = split(line)
  const first = words.shift()
  if (first === undefined) return undefined
  const name = first.text
  switch (name) {
    case 'put': {
      const [key, value] = [take(name, words), take(name, words)]
      return { type: name, key, value, lease: takeLease(name, words) }
    }
    case 'get':
      return { type: name, key: take(name, words), ...takeRead(name, words) }
    case 'list': {
      const prefix = isWord(words[0], 'at', 'local') ? '' : (words.shift()?.text ?? '')
      return { type: name, prefix, ...takeRead(name, words) }
    }
    case 'delete':
      return ended(name, words, (): Command => ({ type: name, keys: takeKeys(name, words) }))
    case 'cas':
      return ended(name, words, (): Command => {
        const key = take(name, words)
        const isAbsent = isWord(words[0], '-')
        const old = take(name, words)
        return { type: name, key, expected: isAbsent ? undefined : old, value: take(name, words) }
      })
    case 'transact':
      return { type: name, transaction: transactionOf(words) }
    case 'lease':
      return ended(name, words, () => leaseOf(words))
    case 'watch': {
      const prefix = isWord(words[0], 'from') ? '' : (words.shift()?.text ?? '')
      return ended(name, words, (): Command => {
        const from = isWord(words[0], 'from') ? (words.shift(), takeNumber(name, words)) : undefined
        return { type: name, prefix, from }
      })
    }
    case 'unwatch':
      return ended(name, words, (): Command => {
        return { type: name, number: words.length === 0 ? undefined : takeNumber(name, words) }
      })
    case 'compact':
      return ended(name, words, (): Command => ({ type: name, revision: takeNumber(name, words) }))
    case 'wait':
      return ended(name, words, (): Command => ({ type: name, seconds: takeSeconds(name, words) }))
    case 'kill':
    case 'stop':
    case 'cont':
    case 'wipe':
    case 'transfer':
      return ended(name, words, (): Command => ({ type: name, node: take(name, words) }))
    case 'leases':
    case 'status':
    case 'help':
    case 'quit':
      return ended(name, words, (): Command => ({ type: name }))
    case 'exit':
      return { type: 'quit' }
    default:
      throw new CommandError(`There is no command "${name}"; try: help`)
  }
}

// ---- Parts -------------------------------------------------------------------------------------------------------

function leaseOf(words: Word[]): Command {
  const how = words[0]?.text
  if (how !== 'drop' && how !== 'revoke') return { type: 'lease', seconds: takeSeconds('lease', words) }
  words.shift()
  return { type: `lease-${how}`, id: takeId(`lease-${how}`, words) }
}

function takeLease(name: string, words: Word[]): LeaseWish | undefined {
  return ended(name, words, () => {
    if (words.length === 0) return undefined
    if (!isWord(words.shift(), 'lease')) throw wrong(name)
    const isId = words[0]?.text.startsWith('#') === true
    return isId ? { id: takeId(name, words) } : { seconds: takeSeconds(name, words) }
  })
}

function takeRead(name: string, words: Word[]): ReadWish {
  return ended(name, words, () => {
    const revision = isWord(words[0], 'at') ? (words.shift(), takeNumber(name, words)) : undefined
    const local = isWord(words[0], 'local') ? (words.shift(), take(name, words)) : undefined
    return { revision, local }
  })
}

function transactionOf(words: Word[]): KvClientTransaction {
  const name = 'transact'
  const when: NonNullable<KvClientTransaction['when']>[number][] = []
  if (isWord(words[0], 'if')) {
    do {
      words.shift()
      when.push(conditionOf(words))
    } while (isWord(words[0], 'and'))
  }
  const branch = (word: string): readonly KvClientOperation[] => {
    const operations: KvClientOperation[] = []
    if (!isWord(words[0], word)) return operations
    do {
      words.shift()
      operations.push(operationOf(words))
    } while (isWord(words[0], ';'))
    return operations
  }
  const then = branch('then')
  const otherwise = branch('else')
  if (words.length > 0 || then.length + otherwise.length === 0) throw wrong(name, words[0]?.text)
  return { when, then, otherwise }
}

function conditionOf(words: Word[]): NonNullable<KvClientTransaction['when']>[number] {
  const name = 'transact'
  const subject = take(name, words)
  const operator = take(name, words)
  if (operator === 'exists') return { key: subject, target: 'version', operator: '>', operand: 0 }
  if (operator === 'missing') return { key: subject, target: 'version', operator: '=', operand: 0 }
  if (operator !== '=' && operator !== '!=' && operator !== '<' && operator !== '>')
    throw wrong(name, operator)
  const [, field = '', key = ''] = /^(version|created|modified|lease)\((.+)\)$/.exec(subject) ?? []
  const target = targets[field]
  if (target === undefined) return { key: subject, target: 'value', operator, operand: take(name, words) }
  return { key, target, operator, operand: takeNumber(name, words) }
}

const targets: Readonly<Record<string, 'version' | 'createRevision' | 'modRevision' | 'lease'>> = {
  version: 'version',
  created: 'createRevision',
  modified: 'modRevision',
  lease: 'lease',
}

function operationOf(words: Word[]): KvClientOperation {
  const name = 'transact'
  const what = take(name, words)
  if (what === 'get') return { type: 'get', from: take(name, words) }
  if (what === 'put') return { type: 'put', key: take(name, words), value: take(name, words) }
  if (what !== 'delete') throw wrong(name, what)
  const keys = takeKeys(name, words)
  // Above every key that begins with the prefix and goes on with a character that there is.
  if (typeof keys !== 'string') return { type: 'delete', from: keys.prefix, to: endOfPrefix(keys.prefix) }
  return { type: 'delete', from: keys }
}

// ---- Words -------------------------------------------------------------------------------------------------------

interface Word {
  readonly text: string
  /** Then it is no keyword. */
  readonly isQuoted: boolean
}

/** Words are separated by spaces; `"..."` is one, with JSON's escapes; an unquoted `;` is one by itself. */
function split(line: string): Word[] {
  const words: Word[] = []
  let rest = line.trim()
  while (rest !== '' && !rest.startsWith('# ')) {
    const quoted = /^"(?:[^"\\]|\\.)*"(?=[\s;]|$)/.exec(rest)?.[0]
    const plain = quoted ?? /^(?:;|[^\s;"]+)/.exec(rest)?.[0]
    if (plain === undefined)
      throw new CommandError('A quote is open: write "..." around a word, and \\" for a quote in it')
    words.push({ text: quoted === undefined ? plain : unquote(quoted), isQuoted: quoted !== undefined })
    rest = rest.slice(plain.length).trimStart()
  }
  return words
}

function unquote(quoted: string): string {
  try {
    return JSON.parse(quoted) as string
  } catch {
    throw new CommandError(`${quoted} has an escape that JSON does not know`)
  }
}

function isWord(word: Word | undefined, ...texts: readonly string[]): boolean {
  return word !== undefined && !word.isQuoted && texts.includes(word.text)
}

function take(name: string, words: Word[]): string {
  const word = words.shift()
  if (word === undefined || isWord(word, ';')) throw wrong(name, word?.text ?? 'the end of the line')
  return word.text
}

function takeNumber(name: string, words: Word[]): number {
  const text = take(name, words)
  if (!/^\d{1,15}$/.test(text)) throw wrong(name, text)
  return Number(text)
}

function takeSeconds(name: string, words: Word[]): number {
  const text = take(name, words)
  if (!/^\d{1,6}(\.\d+)?$/.test(text) || Number(text) === 0) throw wrong(name, text)
  return Number(text)
}

function takeId(name: string, words: Word[]): number {
  const text = take(name, words)
  if (!/^#?[1-9]\d{0,14}$/.test(text)) throw wrong(name, text)
  return Number(text.replace('#', ''))
}

function takeKeys(name: string, words: Word[]): string | { readonly prefix: string } {
  const isPattern = words[0]?.isQuoted === false && words[0].text.endsWith('*')
  const text = take(name, words)
  return isPattern ? { prefix: text.slice(0, -1) } : text
}

/** What `read` gives, when nothing is left behind it. */
function ended<T>(name: string, words: readonly Word[], read: () => T): T {
  const value = read()
  if (words.length > 0) throw wrong(name, words[0]?.text)
  return value
}

function wrong(name: string, got?: string): CommandError {
  const [usage = name] = usages[name] ?? []
  return new CommandError(`Expected: ${usage}${got === undefined ? '' : `; got ${JSON.stringify(got)}`}`)
}
