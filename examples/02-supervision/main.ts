/** A supervision tree, and what it does when parts of it crash: see README.md. */
import {
  actor,
  ask,
  child,
  createSystem,
  nodePlatform,
  protocol,
  silentLogger,
  supervisor,
  tell,
  type ActorStatus,
  type ActorSystem,
} from '@understudy/runtime'
import Type from 'typebox'

const Machine = protocol('machine', {
  /** Does one piece of work; answers how many this incarnation has done. */
  work: ask(Type.Integer()),
  breakDown: tell({ why: Type.String() }),
})

const machine = actor(Machine, () => {
  let done = 0
  return {
    work: () => ++done,
    breakDown: ({ why }) => {
      throw new Error(why)
    },
  }
})

const root = supervisor({ name: 'plant' }, [
  // Independent of each other: only who crashes is restarted. The barometer takes a moment before it comes back.
  child(
    'sensors',
    supervisor({ strategy: 'one-for-one', intensity: { restarts: 2, withinMs: 5_000 } }, [
      child('thermometer', machine),
      child('barometer', machine, { backoff: { minMs: 200, maxMs: 1_000, jitter: 0 } }),
    ]),
  ),
  // Of no use without each other: when one crashes all go down, in reverse order, and all come up again, in order.
  child(
    'pipeline',
    supervisor({ strategy: 'one-for-all' }, [
      child('source', machine),
      child('filter', machine),
      child('sink', machine),
    ]),
  ),
])

// Restarts are log lines by default. Here the program prints them itself, so the log is off.
await using system = await createSystem('plant', root, { platform: nodePlatform({ log: silentLogger }) })
system.events.on('actor-restarted', ({ path, error, count, limit, delayMs }) => {
  const when = delayMs > 0 ? `in ${Math.round(delayMs)} ms` : 'at once'
  print(`  ${path} crashed: ${error?.message ?? 'it stopped'}`)
  print(`    restart ${count} of ${limit} within the window, ${when}`)
})
system.events.on('actor-started', ({ path, incarnation }) =>
  print(`  ${path} runs as incarnation ${incarnation}`),
)

console.log('The tree:\n')
printTree(system)
console.log()
for (const path of ['/user/sensors/thermometer', '/user/sensors/barometer']) await workAt(path)
for (const name of ['source', 'filter', 'sink']) await workAt(`/user/pipeline/${name}`)

console.log('\n1. The thermometer breaks down. one-for-one: nobody else notices.\n')
system.ref(Machine, '/user/sensors/thermometer').tell({ type: 'breakDown', why: 'the glass is cracked' })
// What is sent meanwhile waits in the mailbox, which a restart keeps: the new incarnation answers.
await workAt('/user/sensors/thermometer')
await workAt('/user/sensors/barometer')

console.log('\n2. The barometer breaks down. It has a backoff, so it comes back after 200 ms.\n')
system.ref(Machine, '/user/sensors/barometer').tell({ type: 'breakDown', why: 'out of mercury' })
await workAt('/user/sensors/barometer')

console.log('\n3. The filter breaks down. one-for-all: source and sink go down and come up with it.\n')
system.ref(Machine, '/user/pipeline/filter').tell({ type: 'breakDown', why: 'clogged' })
await startOf(system, '/user/pipeline/sink')
for (const name of ['source', 'filter', 'sink']) await workAt(`/user/pipeline/${name}`)

console.log('\n4. The thermometer breaks down again, a third restart in 5 s: "sensors" gives up and fails')
console.log('   itself. Its own supervisor restarts it, with new children.\n')
system
  .ref(Machine, '/user/sensors/thermometer')
  .tell({ type: 'breakDown', why: 'the glass is cracked again' })
await startOf(system, '/user/sensors')
await workAt('/user/sensors/thermometer')

console.log('\nThe tree now:\n')
printTree(system)

function print(line: string): void {
  console.log(line)
}

async function workAt(path: string): Promise<void> {
  const done = await system.ref(Machine, path).ask({ type: 'work' })
  print(`  ${path} has done ${done} ${done === 1 ? 'piece' : 'pieces'} of work`)
}

/** Resolves when the actor at `path` starts its next incarnation. */
function startOf(within: ActorSystem, path: string): Promise<void> {
  return new Promise((resolve) => {
    const listening = within.events.on('actor-started', (event) => {
      if (event.path !== path) return
      listening[Symbol.dispose]()
      resolve()
    })
  })
}

function printTree(of: ActorSystem): void {
  const user = of.status().tree.children.find(({ path }) => path === '/user')
  if (user !== undefined) printBranch(user, '', '')
}

function printBranch(status: ActorStatus, first: string, rest: string): void {
  const name = status.path.slice(status.path.lastIndexOf('/') + 1)
  const line = `${first}${name}`
  print(
    `${line.padEnd(20)} ${status.definition.padEnd(11)} uid ${status.uid}, incarnation ${status.incarnation}`,
  )
  for (const [index, below] of status.children.entries()) {
    const last = index === status.children.length - 1
    printBranch(below, `${rest}${last ? '└─ ' : '├─ '}`, `${rest}${last ? '   ' : '│  '}`)
  }
}
