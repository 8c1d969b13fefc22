/**
 * What every transport must do. One suite, run on each implementation; it names no test library beyond the
 * few methods that it needs, and waits for events, never for time.
 */
import { formatAddress, parseAddress } from '../transport/address.ts'
import type { NodeAddress } from '../transport/address.ts'
import type { CloseReason, Link, LinkLimits, Listener, Transport } from '../transport/transport.ts'

/** The part of a test of tap that the suite uses. */
export interface ContractTest {
  readonly equal: Compare
  readonly same: Compare
  readonly ok: { (found: unknown): unknown; (found: unknown, message: string): unknown }
  readonly teardown: (task: () => Promise<void> | void) => void
}

type Compare = {
  (found: unknown, wanted: unknown): unknown
  (found: unknown, wanted: unknown, message: string): unknown
}

/** Declares one test: `(name, run) => t.test(name, (own) => run(own))`. */
export type DeclareTest = (name: string, run: (t: ContractTest) => Promise<void>) => unknown

/**
 * Makes a transport with these limits. All transports that one call of the suite makes must reach each other.
 */
export type MakeTransport = (limits: LinkLimits) => Transport

/** What the suite needs to know of an implementation. */
export interface TransportContractOptions {
  /** Where it listens, with port 0. @default ws://127.0.0.1:0 */
  readonly address?: NodeAddress | undefined
}

const KIB = 1_024

/** Declares the tests of the contract with `test`. Each closes what it opens. */
export function transportContract(
  test: DeclareTest,
  makeTransport: MakeTransport,
  options: TransportContractOptions = {},
): void {
  const any = options.address ?? formatAddress('127.0.0.1', 0)
  const bed: Bed = { makeTransport, any }
  frameTests(test, bed)
  endTests(test, bed)
  limitTests(test, bed)
  doorTests(test, bed)
  admissionTests(test, bed)
}

interface Bed {
  readonly makeTransport: MakeTransport
  readonly any: NodeAddress
}

function frameTests(test: DeclareTest, bed: Bed): void {
  test('Transport: frames arrive whole, in order, both ways', async (t) => {
    const { near, far } = await pair(t, bed)
    const there = frames(far, 500)
    const back = frames(near, 500)
    for (let n = 0; n < 500; n++) {
      t.equal(near.send(numbered(n, (n * 7) % 3_000)), 'ok')
      t.equal(far.send(numbered(n, (n * 13) % 3_000)), 'ok')
    }
    t.same(
      (await there).map(describe),
      sequence(500, (n) => (n * 7) % 3_000),
    )
    t.same(
      (await back).map(describe),
      sequence(500, (n) => (n * 13) % 3_000),
    )
  })

  test('Link.onFrame: frames that came before it was set are not lost, nor reordered', async (t) => {
    const { near, far } = await pair(t, bed)
    const received: string[] = []
    for (let n = 0; n < 100; n++) near.send(numbered(n, 10 * KIB))
    near.close('ALL_SENT')
    await turns(t, bed)
    far.onFrame((frame) => received.push(describe(frame)))
    const reason = await closed(far)
    t.same(
      received,
      sequence(100, () => 10 * KIB),
    )
    t.equal(reason.code, 'ALL_SENT', 'the end comes behind the last frame')
  })

  test('Link.onFrame: a frame that comes while earlier ones wait stays behind them', async (t) => {
    const { near, far } = await pair(t, bed)
    near.send(numbered(0, 8))
    near.send(numbered(1, 8))
    await turns(t, bed)
    near.send(numbered(2, 8))
    t.same(
      (await frames(far, 3)).map(describe),
      sequence(3, () => 8),
    )
  })

  test('Link.onFrame: a new callback takes over, and one that was set in a callback gets the next frame', async (t) => {
    const { near, far } = await pair(t, bed)
    const first: string[] = []
    const rest = new Promise<string[]>((resolve) => {
      far.onFrame((frame) => {
        first.push(describe(frame))
        const more: string[] = []
        far.onFrame((next) => {
          more.push(describe(next))
          if (more.length === 9) resolve(more)
        })
      })
    })
    for (let n = 0; n < 10; n++) near.send(numbered(n, 8))
    t.same(await rest, sequence(10, () => 8).slice(1))
    t.same(
      first,
      sequence(1, () => 8),
    )
  })

  test('Link.onFrame: a callback that throws ends the link, not the process', async (t) => {
    const { near, far } = await pair(t, bed)
    far.onFrame(() => {
      throw new Error('cannot read this')
    })
    const ends = Promise.all([closed(near), closed(far)])
    near.send(numbered(0, 8))
    const [atNear, atFar] = await ends
    t.equal(atFar.code, 'CLUSTER_FRAME_HANDLER_FAILED')
    t.ok(atFar.message.includes('cannot read this'))
    t.equal(atNear.code, 'CLUSTER_FRAME_HANDLER_FAILED')
  })
}

function endTests(test: DeclareTest, bed: Bed): void {
  test('Link.close: what was sent before arrives, nothing is delivered to the closer any more', async (t) => {
    const { near, far } = await pair(t, bed)
    const toFar: string[] = []
    let isClosed = false
    let late = 0
    near.onFrame(() => {
      if (isClosed) late++
    })
    far.onFrame((frame) => {
      toFar.push(describe(frame))
      far.send(numbered(0, KIB))
    })
    // Under way at the time of the close, and not to be delivered.
    for (let n = 0; n < 20; n++) far.send(numbered(n, 8))
    for (let n = 0; n < 200; n++) near.send(numbered(n, KIB))
    const ends = Promise.all([closed(near), closed(far)])
    near.close('CLUSTER_DUPLICATE_LINK')
    isClosed = true
    t.equal(near.send(numbered(0, 8)), 'closed')
    const [atNear, atFar] = await ends
    t.equal(late, 0)
    t.same(
      toFar,
      sequence(200, () => KIB),
    )
    t.equal(atNear.code, 'CLUSTER_DUPLICATE_LINK')
    t.equal(atFar.code, 'CLUSTER_DUPLICATE_LINK', 'the peer learns the code')
    t.equal(far.send(numbered(0, 8)), 'closed')
  })

  test('Link.close: what waited for a callback is dropped', async (t) => {
    const { near, far } = await pair(t, bed)
    near.send(numbered(0, 8))
    await turns(t, bed)
    let delivered = 0
    far.close()
    far.onFrame(() => delivered++)
    await closed(far)
    await closed(near)
    t.equal(delivered, 0)
  })

  test('Link.close: idempotent, the first code stands, onClose is called once and never at once', async (t) => {
    const { near, far } = await pair(t, bed)
    const told: string[] = []
    let isInside = true
    near.onClose((reason) => {
      told.push(`${reason.code}${isInside ? ' too early' : ''}`)
    })
    near.close('FIRST')
    near.close('SECOND')
    isInside = false
    t.equal((await closed(far)).code, 'FIRST')
    near.close()
    await turns(t, bed)
    t.same(told, ['FIRST'])
  })

  test('Link.onClose: one who asks after the end is told', async (t) => {
    const { near, far } = await pair(t, bed)
    near.close('EARLY')
    await turns(t, bed)
    t.equal((await closed(near)).code, 'EARLY')
    t.equal((await closed(far)).code, 'EARLY')
  })

  test('Link.close: both ends at once', async (t) => {
    const { near, far } = await pair(t, bed)
    const ends = Promise.all([closed(near), closed(far)])
    near.close('NEAR')
    far.close('FAR')
    const [atNear, atFar] = await ends
    t.equal(atNear.code, 'NEAR')
    t.equal(atFar.code, 'FAR')
  })

  test('Link.close: a code that is no code is a RangeError', async (t) => {
    const { near } = await pair(t, bed)
    t.ok(thrown(() => near.close('not a code')) instanceof RangeError)
    t.ok(thrown(() => near.close('A'.repeat(65))) instanceof RangeError)
  })
}

function limitTests(test: DeclareTest, bed: Bed): void {
  test('Link.send: says full at outboundBytesMax, does not queue that frame, and tells of the drain', async (t) => {
    const { near, far } = await pair(t, bed, {
      frameBytesMax: 64 * KIB,
      outboundBytesMax: 256 * KIB,
    })
    let sent = 0
    // The far end takes nothing, so that the near one must fill up whatever lies between them.
    while (near.send(numbered(sent, 64 * KIB)) === 'ok' && sent < 10_000) sent++
    t.ok(sent >= 3 && sent < 10_000, `full after ${sent} frames`)
    t.ok(near.bufferedBytes <= 256 * KIB + 64 * KIB, `${near.bufferedBytes} bytes are held`)
    t.equal(near.send(numbered(sent, 64 * KIB)), 'full', 'still full within the same turn')
    const drained = new Promise<void>((resolve) => near.onDrain(resolve))
    const received = frames(far, sent)
    await drained
    t.ok(near.bufferedBytes <= 128 * KIB, `${near.bufferedBytes} bytes are held after the drain`)
    t.same(
      (await received).map(describe),
      sequence(sent, () => 64 * KIB),
    )
    const last = frames(far, 1)
    t.equal(near.send(numbered(sent, 8)), 'ok')
    t.same((await last).map(describe), [`${sent}:8`], 'the refused frame never came')
  })

  test('Link.send: a frame over our own frameBytesMax is a RangeError and harms nothing', async (t) => {
    const { near, far } = await pair(t, bed, { frameBytesMax: 4 * KIB })
    t.ok(thrown(() => near.send(new Uint8Array(4 * KIB + 1))) instanceof RangeError)
    const received = frames(far, 1)
    t.equal(near.send(numbered(1, 4 * KIB)), 'ok', 'the limit itself is allowed')
    t.same((await received).map(describe), [`1:${4 * KIB}`])
  })

  test("Transport: a frame over the receiver's limit ends that link only", async (t) => {
    const small = bed.makeTransport({ frameBytesMax: 4 * KIB })
    const big = bed.makeTransport({ frameBytesMax: 100 * KIB })
    const { links, listener } = await listening(t, small, bed.any)
    const near = await big.dial(listener.address)
    const other = await big.dial(listener.address)
    const far = await links.next()
    const otherFar = await links.next()
    let delivered = 0
    far.onFrame(() => {
      delivered++
    })
    const ends = Promise.all([closed(near), closed(far)])
    near.send(new Uint8Array(100 * KIB))
    const [atNear, atFar] = await ends
    t.equal(atFar.code, 'CLUSTER_FRAME_TOO_BIG')
    t.equal(atNear.code, 'CLUSTER_FRAME_TOO_BIG')
    t.equal(delivered, 0)
    const received = frames(otherFar, 1)
    t.equal(other.send(numbered(1, 8)), 'ok', 'the other link stands')
    await received
    const third = await big.dial(listener.address)
    t.ok(third.remoteAddress, 'the listener is up')
    for (const link of [other, third]) link.close()
  })
}

function doorTests(test: DeclareTest, { makeTransport, any }: Bed): void {
  test('Transport.dial: CLUSTER_DIAL_REFUSED when nobody listens', async (t) => {
    const transport = makeTransport({})
    const listener = await transport.listen(any, () => undefined)
    await listener.close()
    t.equal(await codeOf(transport.dial(listener.address)), 'CLUSTER_DIAL_REFUSED')
  })

  test('Transport.dial: CLUSTER_DIAL_ABORTED before and during, and the signal keeps no listener', async (t) => {
    const transport = makeTransport({})
    const { listener } = await listening(t, transport, any)
    t.equal(
      await codeOf(transport.dial(listener.address, { signal: AbortSignal.abort() })),
      'CLUSTER_DIAL_ABORTED',
    )
    const during = new AbortController()
    const dial = codeOf(transport.dial(listener.address, { signal: during.signal }))
    during.abort(new Error('no longer wanted'))
    t.equal(await dial, 'CLUSTER_DIAL_ABORTED')
    const after = new AbortController()
    const listeners = countListeners(after.signal)
    const link = await transport.dial(listener.address, { signal: after.signal })
    after.abort()
    t.equal(link.send(numbered(1, 8)), 'ok', 'an open link does not care')
    t.equal(listeners(), 0)
    link.close()
  })

  test('Transport.listen: CLUSTER_PORT_IN_USE for a port that is taken, and free again after close', async (t) => {
    const transport = makeTransport({})
    const { listener } = await listening(t, transport, any)
    t.ok(!listener.address.endsWith(':0'), 'the real port is told')
    t.equal(await codeOf(transport.listen(listener.address, () => undefined)), 'CLUSTER_PORT_IN_USE')
    await listener.close()
    const again = await transport.listen(listener.address, () => undefined)
    t.equal(again.address, listener.address)
    await again.close()
  })

  test('Transport: CLUSTER_BAD_ADDRESS for what is not ws://host:port', async (t) => {
    const transport = makeTransport({})
    const bad = 'http://127.0.0.1:7001' as NodeAddress
    t.equal(await codeOf(transport.dial(bad)), 'CLUSTER_BAD_ADDRESS')
    t.equal(await codeOf(transport.listen(bad, () => undefined)), 'CLUSTER_BAD_ADDRESS')
  })

  test('Listener.close: ends accepted links with CLUSTER_LISTENER_CLOSED, twice is the same', async (t) => {
    const transport = makeTransport({})
    const { links, listener } = await listening(t, transport, any)
    const near = await transport.dial(listener.address)
    const far = await links.next()
    const ends = Promise.all([closed(near), closed(far)])
    const first = listener.close()
    t.equal(listener.close(), first)
    await first
    for (const { code } of await ends) t.equal(code, 'CLUSTER_LISTENER_CLOSED')
  })

  test('ListenOptions.unestablishedMax: strangers are turned away at it, established peers do not count', async (t) => {
    const transport = makeTransport({})
    const refused: string[] = []
    const { links, listener } = await listening(t, transport, any, {
      unestablishedMax: 2,
      onRefused: ({ reason }) => refused.push(reason),
    })
    const known = await transport.dial(listener.address)
    const first = await links.next()
    first.established()
    first.established()
    const strangers = [await transport.dial(listener.address), await transport.dial(listener.address)]
    t.equal(await codeOf(transport.dial(listener.address)), 'CLUSTER_DIAL_REJECTED')
    t.same(refused, ['crowded'])
    const gone = closed(await links.next())
    strangers[0]?.close()
    await gone
    // The place of a stranger who left is free, at the latest when its connection is gone.
    let link: Link | undefined
    for (let tries = 0; link === undefined && tries < 1_000; tries++) {
      link = await transport.dial(listener.address).catch(() => undefined)
    }
    t.ok(link, 'a new stranger is let in')
    for (const open of [known, strangers[1], link]) open?.close()
  })

  test('Listener.address and Link.remoteAddress: of the scheme that was asked for', async (t) => {
    const transport = makeTransport({})
    const { links, listener } = await listening(t, transport, any)
    const near = await transport.dial(listener.address)
    const far = await links.next()
    t.equal(parseAddress(listener.address).isSecure, parseAddress(any).isSecure)
    t.equal(near.remoteAddress, listener.address)
    t.ok(parseAddress(far.remoteAddress).host)
    near.close()
  })

  test('RangeError for limits that contradict each other', async (t) => {
    t.ok(thrown(() => makeTransport({ frameBytesMax: 10 })) instanceof RangeError)
    t.ok(
      thrown(() => makeTransport({ frameBytesMax: 4 * KIB, outboundBytesMax: 2 * KIB })) instanceof
        RangeError,
    )
  })
}

/** Limits on strangers; what each counts in detail is `Admission`'s own test. */
function admissionTests(test: DeclareTest, { makeTransport, any }: Bed): void {
  test('ListenOptions.unestablishedPerAddressMax: one address has no more strangers, one who is known makes room', async (t) => {
    const transport = makeTransport({})
    const refused: string[] = []
    const { links, listener } = await listening(t, transport, any, {
      unestablishedPerAddressMax: 2,
      onRefused: ({ reason }) => refused.push(reason),
    })
    const open = [await transport.dial(listener.address), await transport.dial(listener.address)]
    t.ok(await isTurnedAway(transport, listener))
    t.same(refused, ['crowded'])
    const known = await links.next()
    known.established()
    open.push(await transport.dial(listener.address))
    t.ok(await isTurnedAway(transport, listener))
    for (const link of open) link.close()
  })

  test('ListenOptions.connectionsPerSecondPerAddress: a burst, then no more, and what stands is not touched', async (t) => {
    const transport = makeTransport({})
    const refused: string[] = []
    const { links, listener } = await listening(t, transport, any, {
      // A new one only after a quarter of an hour: whatever the machine is busy with, none comes free meanwhile.
      connectionsPerSecondPerAddress: 0.001,
      onRefused: ({ reason }) => refused.push(reason),
    })
    const near = await transport.dial(listener.address)
    const far = await links.next()
    far.established()
    t.ok(await isTurnedAway(transport, listener))
    t.same(refused, ['rate'])
    const echo = frames(near, 1)
    far.send(numbered(1, 8))
    await echo
    near.close()
  })

  test('ListenOptions.allowAddresses: nobody else gets in', async (t) => {
    const transport = makeTransport({})
    const refused: string[] = []
    const open = await listening(t, transport, any)
    const link = await transport.dial(open.listener.address)
    const { host } = parseAddress((await open.links.next()).remoteAddress)
    const allowed = await listening(t, transport, any, { allowAddresses: ['192.0.2.0/24', host] })
    const welcome = await transport.dial(allowed.listener.address)
    await allowed.links.next()
    let accepted = 0
    const closedToUs = await transport.listen(any, () => accepted++, {
      allowAddresses: ['192.0.2.0/24', '2001:db8::/32'],
      onRefused: ({ reason }) => refused.push(reason),
    })
    t.teardown(() => closedToUs.close())
    t.ok(await isTurnedAway(transport, closedToUs))
    t.same(refused, ['address'])
    t.equal(accepted, 0)
    for (const each of [link, welcome]) each.close()
  })

  test('Transport.listen: RangeError for limits on strangers that are none', async (t) => {
    const transport = makeTransport({})
    const bad = [
      { unestablishedMax: 0 },
      { unestablishedPerAddressMax: 1.5 },
      { connectionsPerSecondPerAddress: 0 },
      { allowAddresses: [] },
      { allowAddresses: ['10.0.0.0/33'] },
      { allowAddresses: ['10.0.0.1/8'] },
    ]
    for (const options of bad) {
      const error = await transport.listen(any, () => undefined, options).catch((cause: unknown) => cause)
      t.ok(error instanceof RangeError, JSON.stringify(options))
    }
  })
}

/** A dial fails as it must when a limit turns it away. */
async function isTurnedAway(transport: Transport, listener: Listener): Promise<boolean> {
  const code = await codeOf(transport.dial(listener.address))
  return code === 'CLUSTER_DIAL_REJECTED' || code === 'CLUSTER_DIAL_FAILED'
}

interface Listening {
  readonly listener: Listener
  readonly links: { readonly next: () => Promise<Link> }
}

/** A listener that is closed with the test, and a queue of what it accepts. */
async function listening(
  t: ContractTest,
  transport: Transport,
  any: NodeAddress,
  options?: Parameters<Transport['listen']>[2],
): Promise<Listening> {
  const accepted: Link[] = []
  const waiting: Array<(link: Link) => void> = []
  const listener = await transport.listen(
    any,
    (link) => {
      const taker = waiting.shift()
      if (taker === undefined) accepted.push(link)
      else taker(link)
    },
    options,
  )
  t.teardown(() => listener.close())
  const next = (): Promise<Link> => {
    const link = accepted.shift()
    return link === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(link)
  }
  return { listener, links: { next } }
}

async function pair(
  t: ContractTest,
  { makeTransport, any }: Bed,
  limits: LinkLimits = {},
): Promise<{ readonly near: Link; readonly far: Link }> {
  const transport = makeTransport(limits)
  const { listener, links } = await listening(t, transport, any)
  const near = await transport.dial(listener.address)
  const far = await links.next()
  far.established()
  t.teardown(() => near.close())
  return { near, far }
}

/** Lets what is under way arrive: some round trips on a link of their own, which is events and not time. */
async function turns(t: ContractTest, bed: Bed): Promise<void> {
  const { near, far } = await pair(t, bed)
  far.onFrame((frame) => far.send(frame.slice()))
  for (let n = 0; n < 20; n++) {
    const echo = frames(near, 1)
    near.send(numbered(n, 8))
    await echo
  }
}

/** The next `count` frames of a link. */
function frames(link: Link, count: number): Promise<Uint8Array[]> {
  return new Promise((resolve) => {
    const received: Uint8Array[] = []
    link.onFrame((frame) => {
      received.push(frame.slice())
      if (received.length === count) resolve(received)
    })
  })
}

function closed(link: Link): Promise<CloseReason> {
  return new Promise((resolve) => link.onClose(resolve))
}

/** A frame of at least 8 bytes that carries a number, its size, and bytes that must not change on the way. */
function numbered(n: number, bytes: number): Uint8Array {
  const frame = new Uint8Array(Math.max(8, bytes))
  new DataView(frame.buffer).setUint32(0, n)
  for (let at = 8; at < frame.length; at++) frame[at] = (n + at) & 0xff
  return frame
}

function describe(frame: Uint8Array): string {
  const n = new DataView(frame.buffer, frame.byteOffset).getUint32(0)
  for (let at = 8; at < frame.length; at++)
    if (frame[at] !== ((n + at) & 0xff)) return `${n}:damaged at ${at}`
  return `${n}:${frame.length}`
}

function sequence(count: number, bytesOf: (n: number) => number): string[] {
  return Array.from({ length: count }, (_, n) => `${n}:${Math.max(8, bytesOf(n))}`)
}

/** Counts the listeners that a signal gets from now on, less those that are taken away. */
function countListeners(signal: AbortSignal): () => number {
  const listeners = new Set<unknown>()
  const { addEventListener, removeEventListener } = signal
  signal.addEventListener = (...given: Parameters<typeof addEventListener>) => {
    listeners.add(given[1])
    addEventListener.apply(signal, given)
  }
  signal.removeEventListener = (...given: Parameters<typeof removeEventListener>) => {
    listeners.delete(given[1])
    removeEventListener.apply(signal, given)
  }
  return () => listeners.size
}

async function codeOf(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise
    return 'no error'
  } catch (error) {
    return (error as { readonly code?: unknown }).code
  }
}

function thrown(task: () => unknown): unknown {
  try {
    task()
    return undefined
  } catch (error) {
    return error
  }
}
