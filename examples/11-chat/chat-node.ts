/** One node of the chat, in a process of its own: its page, its visitors, and its share of the rooms. */
import { readFile } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { startNode } from '@understudy/cluster'
import { child, nodePlatform, silentLogger, supervisor } from '@understudy/runtime'
import { Audience, gateway } from './gateway.ts'
import { Gateway, Nodes, room } from './room.ts'
import { Visitors } from './visitors.ts'

export interface ChatNodeSettings {
  readonly name: string
  /** Of all nodes, by name: `ws://127.0.0.1:8101`. */
  readonly addresses: Readonly<Record<string, string>>
  readonly secret: string
}

async function main({ name, addresses, secret }: ChatNodeSettings): Promise<void> {
  const seeds = Object.values(addresses)
  const page = await readFile(new URL('../../11-chat/page.html', import.meta.url), 'utf8')
  const html = page.replace('data-nodes=""', `data-nodes="${seeds.join(' ')}"`)
  const visitors = new Visitors()
  const node = await startNode({
    name,
    listen: addresses[name] ?? '',
    seeds,
    secret,
    // A majority of three: whatever the order of the start, there is one cluster.
    expect: 2,
    entities: [room],
    root: supervisor({}, [child('gateway', gateway())]),
    services: [
      Audience.provide(visitors),
      Nodes.provide({
        self: name,
        gateways: () =>
          node.members().map((member) => ({
            life: `${member.name} ${member.incarnation}`,
            ref: node.ref(Gateway, member.name, '/user/gateway'),
          })),
      }),
    ],
    http: (request, response) => servePage(request, response, html),
    // A page of one node goes to another one when its own is gone.
    webSocket: { accept: visitors.accept, origins: seeds.flatMap(pageOrigins), payloadBytesMax: 8_192 },
    platform: nodePlatform(process.env['UNDERSTUDY_LOG'] === undefined ? { log: silentLogger } : {}),
  })
  // It comes up once it has a link with everybody who is.
  const isUp = new Promise((resolve) => node.events.on('self-up', resolve))
  visitors.serve(node)
  node.system.coordinatedShutdown.add('stop-intake', 'visitors', () => visitors.sendAway())
  // Without whoever started it a node has nothing to live for.
  process.once('disconnect', () => void node.shutdown('the chat is over'))
  void node.system.terminated.then(() => {
    if (process.connected) process.disconnect()
  })
  await isUp
  process.send?.({ type: 'ready' })
}

function servePage(request: IncomingMessage, response: ServerResponse, html: string): void {
  const isPage = request.method === 'GET' && new URL(request.url ?? '/', 'http://localhost').pathname === '/'
  response.writeHead(isPage ? 200 : 404, {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy':
      "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src ws:; base-uri 'none'",
    'x-content-type-options': 'nosniff',
  })
  response.end(isPage ? html : 'There is nothing here but the page at /\n')
}

function pageOrigins(address: string): readonly string[] {
  const { port } = new URL(address)
  return [`http://127.0.0.1:${port}`, `http://localhost:${port}`]
}

const settings = process.env['CHAT_NODE']
if (settings !== undefined) await main(JSON.parse(settings) as ChatNodeSettings)
