/** An HTTP service as a supervision tree: see README.md. `--demo` plays a client to it. */
import { setTimeout as sleep } from 'node:timers/promises'
import {
  child,
  createSystem,
  isActorError,
  nodePlatform,
  pool,
  supervisor,
  type ActorSystem,
} from '@understudy/runtime'
import { runDemo } from './demo.ts'
import { httpListener, Listener, Status } from './http-listener.ts'
import { items } from './items.ts'
import { lineLogger } from './line-logger.ts'
import { requestWorker } from './request-worker.ts'

if (process.argv.includes('--demo')) process.exitCode = await runDemo()
else await serve(Number(process.env['PORT'] ?? 0), Number(process.env['NOT_READY_MS'] ?? 0))

/** `notReadyMs`: how long the door stays open after "not ready", for load balancers to notice. */
async function serve(port: number, notReadyMs: number): Promise<void> {
  // Started from left to right, stopped from right to left. rest-for-one: when the items crash, those behind them start
  // afresh; a crash of the listener is nobody else's business.
  const root = supervisor({ name: 'service', strategy: 'rest-for-one' }, [
    child('items', items),
    child('workers', pool(requestWorker, { size: 3, strategy: 'smallest-mailbox' })),
    child('listener', httpListener({ port }), { backoff: { minMs: 50, maxMs: 1_000 } }),
  ])
  const system: ActorSystem = await createSystem('service', root, {
    platform: nodePlatform({ log: lineLogger('info') }),
    services: [Status.provide(() => system.status())],
  }).catch(giveUp)
  const listener = system.ref(Listener, '/user/listener')

  // SIGTERM and SIGINT run these phases; then the actors are stopped, and the process ends with exit code 0.
  system.events.on('shutdown-phase', ({ phase }) => process.stderr.write(`phase ${phase}\n`))
  system.coordinatedShutdown.add('not-ready', 'listener', async () => {
    listener.tell({ type: 'notReady' })
    await sleep(notReadyMs)
  })
  system.coordinatedShutdown.add('stop-intake', 'listener', async () => {
    await listener.ask({ type: 'drain' }, { timeoutMs: 10_000 })
  })

  console.log(`listening on http://127.0.0.1:${await listener.ask({ type: 'port' })}`)
}

function giveUp(error: unknown): never {
  console.error(isActorError(error) ? error.message : error)
  process.exit(1)
}
