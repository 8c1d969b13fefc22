/** The three sources of addresses beyond their common contract: what they read, refuse, repeat and how often they look. */
import { virtualPlatform } from '@understudy/runtime/testkit'
import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'

type Discovery = import('../../packages/cluster/src/membership/discovery.ts').Discovery
type DiscoveryError = import('../../packages/cluster/src/membership/discovery.ts').DiscoveryError
type DiscoveryPlatform = import('../../packages/cluster/src/membership/discovery.ts').DiscoveryPlatform

const { LookLoop, lookBackoff } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/discovery.ts')
>('cluster', 'membership/discovery')
const { dialableAddress, staticDiscovery } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/static-discovery.ts')
>('cluster', 'membership/static-discovery')
const { fileDiscovery, readAddressList } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/file-discovery.ts')
>('cluster', 'membership/file-discovery')
const { dnsDiscovery } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/dns-discovery.ts')
>('cluster', 'membership/dns-discovery')

function listen(discovery: Discovery, platform: DiscoveryPlatform) {
  const lists: (readonly string[])[] = []
  const problems: DiscoveryError[] = []
  const handle = discovery.start(
    platform,
    (addresses) => void lists.push(addresses),
    (problem) => void problems.push(problem),
  )
  return { lists, problems, handle }
}

const source = 'file x'
const found = (text: string): readonly string[] => readAddressList(text, source).addresses
const problemsOf = (text: string): readonly DiscoveryError[] => readAddressList(text, source).problems

void test('readAddressList takes one address a line, with comments, blank lines and any line ends', async (t) => {
  const text = '# all of them\r\nws://b:7001  # the second\n\n\t WS://A:7001 \rws://[::1]:7001'
  t.same(found(text), ['ws://[::1]:7001', 'ws://a:7001', 'ws://b:7001'])
  t.same(problemsOf(text), [])
})

void test('readAddressList takes a JSON array', async (t) => {
  t.same(found(' [ "ws://b:1",\n "ws://a:1" ]'), ['ws://a:1', 'ws://b:1'])
  t.match(problemsOf('["ws://a:1", 7]'), [
    { details: { lines: [2] }, message: /Cannot use entry 2 of file x/ },
  ])
  t.match(problemsOf('["ws://a:1"'), [
    { code: 'CLUSTER_DISCOVERY_BAD_ENTRY', message: /is no JSON .* write an array/ },
  ])
  t.same(found('["ws://a:1"'), [], 'half an array is none')
})

void test('readAddressList names the lines that are no addresses, and takes the others', async (t) => {
  const text = 'ws://a:1\nhttp://b:1\n# c\nws://c:0\nws://d:1/path\nws://e:1'
  t.same(found(text), ['ws://a:1', 'ws://e:1'])
  const [problem] = problemsOf(text)
  t.match(problem, { code: 'CLUSTER_DISCOVERY_BAD_ENTRY', details: { lines: [2, 4, 5], count: 3 } })
  t.match(
    problem?.message,
    /^Cannot use line 2 of file x: .*"http:\/\/b:1".*; so are 2 more \(4, 5\)\. The other/,
  )
  const many = problemsOf(Array.from({ length: 5_000 }, () => 'x').join('\n'))[0]
  t.ok((many?.message.length ?? 0) < 600, 'however many they are')
})

void test('readAddressList says when there is nothing in it', async (t) => {
  for (const text of ['', '\n# nothing\n', '[]']) {
    t.match(problemsOf(text), [{ code: 'CLUSTER_DISCOVERY_EMPTY', message: /ws:\/\/10\.0\.0\.7:7001/ }])
  }
  t.match(
    problemsOf('x'),
    [{ code: 'CLUSTER_DISCOVERY_BAD_ENTRY' }],
    'what is there and wrong is told as that',
  )
  t.equal(problemsOf('x').length, 1)
})

void test('fileDiscovery keeps what it knows while the file is empty or all wrong, and tells each problem once', async (t) => {
  const platform = virtualPlatform()
  const { files } = platform
  files.write('seeds', 'ws://a:1')
  const { lists, problems } = listen(fileDiscovery({ path: 'seeds' }), platform)
  await platform.advance(100)
  files.write('seeds', '')
  await platform.advance(300_000)
  files.write('seeds', 'rubbish')
  await platform.advance(300_000)
  files.write('seeds', 'ws://b:1\nrubbish')
  await platform.advance(300_000)
  files.write('seeds', 'ws://c:1')
  await platform.advance(300_000)
  t.same(lists, [['ws://a:1'], ['ws://b:1'], ['ws://c:1']])
  t.same(
    problems.map(({ code }) => code),
    ['CLUSTER_DISCOVERY_EMPTY', 'CLUSTER_DISCOVERY_BAD_ENTRY', 'CLUSTER_DISCOVERY_BAD_ENTRY'],
    'the third names another line',
  )
})

void test('fileDiscovery reads again when the file changes while it is being read', async (t) => {
  const platform = virtualPlatform()
  const { files } = platform
  files.write('seeds', 'ws://a:1')
  let answer: ((text: string) => void) | undefined
  let reads = 0
  const slow: DiscoveryPlatform = {
    ...platform,
    files: {
      watch: files.watch,
      readText: () =>
        new Promise((resolve) => {
          reads++
          answer = resolve
        }),
    },
  }
  const { lists } = listen(fileDiscovery({ path: 'seeds' }), slow)
  await platform.settle()
  files.write('seeds', 'ws://b:1')
  files.write('seeds', 'ws://c:1')
  await platform.settle()
  t.equal(reads, 1, 'one read at a time')
  answer?.('ws://a:1')
  await platform.settle()
  t.equal(reads, 2, 'then the next one at once')
  answer?.('ws://c:1')
  await platform.settle()
  t.same(lists, [['ws://a:1'], ['ws://c:1']])
})

void test('fileDiscovery reads a file too big for a list of addresses as a problem', async (t) => {
  const platform = virtualPlatform()
  platform.files.write('seeds', '#'.repeat(1_048_577))
  const { lists, problems } = listen(fileDiscovery({ path: 'seeds' }), platform)
  await platform.advance(10)
  t.same(lists, [])
  t.match(problems, [{ code: 'CLUSTER_DISCOVERY_FAILED', cause: { code: 'RUNTIME_FILE_TOO_BIG' } }])
})

void test('dnsDiscovery gives the services in the order of their priority, all of them', async (t) => {
  const platform = virtualPlatform()
  const place = (name: string, priority: number, weight: number, port = 7001) => ({
    name,
    priority,
    weight,
    port,
  })
  platform.dns.setService('_understudy._tcp.example.org', [
    place('c.example.org', 2, 9),
    place('B.example.org', 1, 1),
    place('a.example.org', 1, 5),
    place('bad name', 0, 0),
    place('nobody.example.org', 0, 0, 0),
  ])
  const { lists, problems } = listen(dnsDiscovery({ service: '_understudy._tcp.example.org' }), platform)
  await platform.advance(10)
  t.same(lists, [['ws://a.example.org:7001', 'ws://b.example.org:7001', 'ws://c.example.org:7001']])
  t.match(problems, [
    { code: 'CLUSTER_DISCOVERY_BAD_ENTRY', details: { records: ['bad name:7001', 'nobody.example.org:0'] } },
  ])
})

void test('dnsDiscovery asks every refreshMs, sooner when the answer does not live so long, never below a second', async (t) => {
  const queries = async (ttlMs: number | undefined, refreshMs?: number): Promise<number> => {
    const platform = virtualPlatform()
    platform.dns.setHost('n', ['10.0.0.1'], ttlMs)
    listen(dnsDiscovery({ host: 'n', port: 1, refreshMs }), platform)
    await platform.advance(100_000)
    return platform.dns.queries
  }
  const plain = await queries(undefined)
  t.ok(plain >= 20 && plain <= 23, `every 5 s, up to a tenth sooner: ${plain}`)
  const long = await queries(3_600_000)
  t.ok(long >= 20 && long <= 23, `an hour is no reason to wait: ${long}`)
  const short = await queries(2_000)
  t.ok(short >= 50 && short <= 56, `every 2 s: ${short}`)
  const none = await queries(0)
  t.ok(none >= 100 && none <= 112, `every second: ${none}`)
  const own = await queries(0, 100)
  t.ok(own >= 1_000 && own <= 1_120, `or as often as it is told to: ${own}`)
})

void test('dnsDiscovery that fails asks again after delays that double, with jitter, up to 30 s', async (t) => {
  const askedMs: number[] = []
  const platform = virtualPlatform()
  const watched: DiscoveryPlatform = {
    ...platform,
    dns: {
      srv: platform.dns.srv,
      a: (host) => {
        askedMs.push(platform.clock.monotonicMs())
        return platform.dns.a(host)
      },
    },
  }
  const { problems } = listen(dnsDiscovery({ host: 'n', port: 1 }), watched)
  await platform.advance(300_000)
  const gaps = askedMs.slice(1).map((atMs, index) => atMs - (askedMs[index] ?? 0))
  for (const [index, gap] of gaps.entries()) {
    const mostMs = Math.min(lookBackoff.maxMs, lookBackoff.minMs * 2 ** index)
    t.ok(gap <= mostMs && gap >= mostMs / 2, `${gap} of ${mostMs} ms`)
  }
  t.ok(
    gaps.some((gap, index) => gap !== lookBackoff.minMs * 2 ** index),
    'and not all alike',
  )
  t.match(problems, [{ code: 'CLUSTER_DISCOVERY_FAILED', cause: { code: 'RUNTIME_DNS_NO_SUCH_NAME' } }])
  t.equal(problems.length, 1)
})

void test('a look that is never answered counts as failed, and its late answer is ignored', async (t) => {
  const platform = virtualPlatform()
  const answers: ((host: string) => void)[] = []
  const { dns } = platform
  const silent: DiscoveryPlatform = {
    ...platform,
    dns: {
      srv: dns.srv,
      a: () => new Promise((resolve) => answers.push((address) => resolve([{ address, family: 4 }]))),
    },
  }
  const { lists, problems } = listen(dnsDiscovery({ host: 'n', port: 1 }), silent)
  await platform.advance(15_001)
  t.equal(answers.length, 1)
  answers[0]?.('10.0.0.1')
  await platform.settle()
  t.same(lists, [], 'too late, though nobody has asked again')
  await platform.advance(300)
  t.equal(answers.length, 2, 'asked again')
  t.match(problems, [{ code: 'CLUSTER_DISCOVERY_FAILED', message: /no answer within 15000 ms/ }])
  answers[0]?.('10.0.0.1')
  await platform.settle()
  t.same(lists, [], 'too late')
  answers[1]?.('10.0.0.2')
  await platform.settle()
  t.same(lists, [['ws://10.0.0.2:1']])
  answers[1]?.('10.0.0.3')
  await platform.settle()
  t.equal(lists.length, 1)
})

void test('LookLoop takes a look that throws for one that failed', async (t) => {
  const platform = virtualPlatform()
  const problems: DiscoveryError[] = []
  const loop = new LookLoop(
    'x',
    platform,
    { refreshMs: 1_000, timeoutMs: 1_000 },
    () => {
      throw new TypeError('broken')
    },
    () => undefined,
    (problem) => void problems.push(problem),
  )
  await platform.settle()
  t.match(problems, [
    { code: 'CLUSTER_DISCOVERY_FAILED', message: /Cannot find nodes by x: broken/, details: { source: 'x' } },
  ])
  loop[Symbol.dispose]()
  loop.poke()
  await platform.advance(10_000)
  t.equal(problems.length, 1, 'poked after its end')
  t.equal(platform.pendingTimers(), 0)
})

void test('staticDiscovery takes none, and refuses what cannot be dialled', async (t) => {
  const platform = virtualPlatform()
  const { lists } = listen(staticDiscovery([]), platform)
  await platform.advance(1)
  t.same(lists, [[]])
  t.throws(() => staticDiscovery(['a:1']), { code: 'CLUSTER_BAD_ADDRESS' })
  t.throws(() => dialableAddress('ws://a:0'), { code: 'CLUSTER_BAD_ADDRESS', message: /port 0/ })
  t.throws(() => staticDiscovery(Array.from({ length: 257 }, (_, n) => `ws://n${n}:1`)), {
    code: 'CLUSTER_DISCOVERY_TOO_MANY',
    name: 'DiscoveryError',
  })
})

void test('fileDiscovery and dnsDiscovery refuse wrong options and say what is right', async (t) => {
  const loose = (value: unknown): never => value as never
  const cases: readonly (readonly [() => unknown, RegExp])[] = [
    [() => fileDiscovery({ path: '' }), /"path" must be the path of a file/],
    [
      () => fileDiscovery({ path: 'x', refreshMs: 99 }),
      /refreshMs must be .* from 100 to 86,400,000, got the number 99/,
    ],
    [() => dnsDiscovery(loose({})), /give either "host" and "port", or "service"/],
    [() => dnsDiscovery(loose({ host: 'a', port: 1, service: 'b' })), /give either/],
    [() => dnsDiscovery({ host: 'a', port: 0 }), /"port" must be an integer from 1 to 65,535, got 0/],
    [() => dnsDiscovery(loose({ host: 'a' })), /"port" must be .* got undefined/],
    [() => dnsDiscovery({ service: '' }), /1 to 253 characters/],
    [() => dnsDiscovery({ service: 'a', refreshMs: NaN }), /refreshMs/],
    [
      () => dnsDiscovery({ service: 'a', scheme: loose('http') }),
      /"scheme" must be "ws" or "wss", got "http"/,
    ],
  ]
  for (const [mistake, message] of cases) t.throws(mistake, { message }, String(message))
})
