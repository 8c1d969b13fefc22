/** A big protocol must stay cheap to check: see the head of packages/runtime/src/actor/protocol.ts. */
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'tap'
import { compile } from '../support/compiler.ts'
import { repoRoot } from '../support/source-scan.ts'

const messages = 60
const asked = 30
/** What the compiler may spend on it. An open `Static<>` in the wrong place costs twenty times that. */
const instantiationsMax = 60_000

const imports = "import { actor, ask, protocol, tell } from '@understudy/runtime'\nimport Type from 'typebox'"

void test('a protocol of 60 messages with 60 handlers and 30 asks stays under 60,000 instantiations', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'understudy-types-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  symlinkSync(join(repoRoot, 'node_modules'), join(folder, 'node_modules'), 'junction')
  const { compilerOptions } = JSON.parse(readFileSync(join(repoRoot, 'tsconfig.base.json'), 'utf8')) as {
    readonly compilerOptions: Readonly<Record<string, unknown>>
  }
  const {
    customConditions: _built,
    composite: _composite,
    declaration,
    declarationMap,
    ...strict
  } = compilerOptions
  t.same([declaration, declarationMap], [true, true])
  const options = { ...strict, noEmit: true, types: [], skipLibCheck: true }
  writeFileSync(
    join(folder, 'tsconfig.json'),
    JSON.stringify({ compilerOptions: options, files: ['big.ts'] }),
  )
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')

  // What the imports alone cost is not the protocol's.
  writeFileSync(
    join(folder, 'big.ts'),
    `${imports}\nexport const used = [Type, actor, ask, protocol, tell]\n`,
  )
  const base = instantiations(folder)
  writeFileSync(join(folder, 'big.ts'), program())
  const spent = instantiations(folder)
  t.comment(`${spent} instantiations, ${base} of them for the imports`)
  t.ok(spent > base + messages, 'it was looked at')
  t.ok(spent < instantiationsMax, `${spent} instantiations, at most ${instantiationsMax}`)

  writeFileSync(join(folder, 'big.ts'), program().replace("type: 'm1', name: ''", "type: 'm1', name: 1"))
  t.match(compile('-p', folder), /error TS/, 'and it is checked')
})

/** Every other message is an ask; each has three fields, and replies have two. A field costs about 60. */
function program(): string {
  const fields = '{ id: Type.Integer(), name: Type.String(), note: Type.Optional(Type.String()) }'
  const reply = 'Type.Object({ ok: Type.Boolean(), id: Type.Integer() })'
  const isAsk = (index: number): boolean => index % 2 === 1
  const numbers = Array.from({ length: messages }, (_, index) => index)
  const sample = 'id: 1'
  const lines = [
    imports,
    "export const Big = protocol('big', {",
    ...numbers.map(
      (index) => `  m${index}: ${isAsk(index) ? `ask(${fields}, ${reply})` : `tell(${fields})`},`,
    ),
    '})',
    'export const big = actor(Big, () => ({',
    ...numbers.map((index) =>
      isAsk(index)
        ? `  m${index}: async ({ id, name }) => ({ ok: name !== '', id }),`
        : `  m${index}: ({ id, note }) => void [id, note],`,
    ),
    '}))',
    "type BigRef = import('@understudy/runtime').ActorRef<typeof Big.messages>",
    'export async function use(ref: BigRef): Promise<unknown[]> {',
    '  return [',
    ...numbers
      .filter(isAsk)
      .slice(0, asked)
      .map((index) => `    (await ref.ask({ type: 'm${index}', name: '', ${sample} })).id,`),
    `    ref.tell({ type: 'm0', name: '', ${sample} }),`,
    '  ]',
    '}',
  ]
  return `${lines.join('\n')}\n`
}

function instantiations(folder: string): number {
  const output = compile('-p', folder, '--extendedDiagnostics')
  if (output.includes('error TS')) throw new Error(output)
  return Number(/Instantiations:\s+(\d+)/.exec(output)?.[1])
}
