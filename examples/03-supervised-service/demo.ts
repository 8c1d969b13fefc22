import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { ActorStatus, SystemStatus } from '@understudy/runtime'

/** Starts the service as a process of its own and plays a client to it. Resolves to the exit code. */
export async function runDemo(): Promise<number> {
  const main = fileURLToPath(new URL('main.js', import.meta.url))
  const server = spawn(process.execPath, [main], {
    env: { ...process.env, PORT: '0', NOT_READY_MS: '300' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const ended = once(server, 'exit')
  // What the service logs is shown between the requests, set apart.
  createInterface(server.stderr).on('line', (line) => console.log(`    | ${line}`))
  const [firstLine] = (await Promise.race([
    once(createInterface(server.stdout), 'line'),
    ended.then(() => []),
  ])) as [string?]
  const base = firstLine?.replace('listening on ', '')
  if (base === undefined) return 1
  console.log('The service listens.')

  const shown = async (method: string, path: string, body?: string): Promise<string> => {
    const response = await fetch(base + path, {
      method,
      body: body ?? null,
      headers: { connection: 'close' },
    })
    const text = (await response.text()).trim()
    console.log(`  ${`${method} ${path}`.padEnd(28)} ${response.status} ${text.length > 60 ? '...' : text}`)
    return text
  }
  const tree = async (): Promise<void> => {
    const status = JSON.parse(await shown('GET', '/tree')) as SystemStatus
    printUser(status.tree)
  }

  console.log('\n1. It keeps items.\n')
  await shown('GET', '/ready')
  await shown('PUT', '/items/colour', 'green')
  await shown('GET', '/items/colour')
  await shown('GET', '/items/taste')
  await shown('GET', '/items')
  await tree()

  console.log(
    '\n2. A worker crashes. The request fails at once, the items are safe, the next request is served.\n',
  )
  await shown('POST', '/crash?what=worker')
  await shown('GET', '/items/colour')

  console.log('\n3. The listener crashes. It comes back on the same port.\n')
  await shown('POST', '/crash?what=listener')
  await whenUp(`${base}/ready`)
  await shown('GET', '/items/colour')
  await tree()

  console.log(
    '\n4. SIGTERM while a request is open: not ready first, the request is answered, then the end.\n',
  )
  const open = shown('GET', '/slow?ms=900')
  await sleep(100)
  server.kill('SIGTERM')
  await sleep(100)
  await shown('GET', '/ready')
  await open
  const [code] = (await ended) as [number | null]
  console.log(`\nThe service ended with exit code ${code}.`)
  return code === 0 ? 0 : 1
}

/** Resolves when somebody answers at `url` again. Gives up after 10 s. */
async function whenUp(url: string): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const response = await fetch(url, { headers: { connection: 'close' } }).catch(() => undefined)
    if (response?.ok === true) return
    await sleep(50)
  }
  throw new Error(`Nobody answers at ${url}`)
}

function printUser(root: ActorStatus): void {
  const user = root.children.find(({ path }) => path === '/user')
  const visit = (status: ActorStatus, indent: string): void => {
    const name = status.path.slice(status.path.lastIndexOf('/') + 1)
    console.log(`    ${(indent + name).padEnd(16)} ${status.status}, incarnation ${status.incarnation}`)
    for (const below of status.children) visit(below, `${indent}  `)
  }
  if (user !== undefined) visit(user, '')
}
