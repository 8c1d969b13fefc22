/** A name server on loopback that answers A, AAAA and SRV from a table: for tests of what asks real ones. */
import { createSocket } from 'node:dgram'

export interface NameServer {
  /** As `nodeDns({ servers })` takes it. */
  readonly address: string
  /** By lower-case name. A name that is not there does not exist; one with an empty list has no such record. */
  readonly hosts: Map<string, readonly string[]>
  readonly services: Map<string, readonly Place[]>
  /** Names that are answered with SERVFAIL. */
  readonly broken: Set<string>
  /** Questions so far, such as `A n.test`. */
  readonly asked: string[]
  readonly close: () => Promise<void>
}

export interface Place {
  readonly name: string
  readonly port: number
  readonly priority: number
  readonly weight: number
}

const kinds = new Map([
  [1, 'A'],
  [28, 'AAAA'],
  [33, 'SRV'],
])
/** Of every answer, in seconds. */
export const nameServerTtl = 7

export async function nameServer(): Promise<NameServer> {
  const hosts = new Map<string, readonly string[]>()
  const services = new Map<string, readonly Place[]>()
  const broken = new Set<string>()
  const asked: string[] = []
  const socket = createSocket('udp4')
  socket.on('message', (question, from) => {
    const { name, end } = readName(question, 12)
    const kind = question.readUInt16BE(end)
    asked.push(`${kinds.get(kind)} ${name}`)
    const records = broken.has(name) ? [] : recordsOf(kind, hosts.get(name), services.get(name))
    const isKnown = hosts.has(name) || services.has(name)
    const head = Buffer.alloc(12)
    question.copy(head, 0, 0, 2)
    // A response, recursion wanted and there; the code in the last four bits: 2 SERVFAIL, 3 NXDOMAIN.
    head.writeUInt16BE(0x8180 | (broken.has(name) ? 2 : isKnown ? 0 : 3), 2)
    head.writeUInt16BE(1, 4)
    head.writeUInt16BE(records.length, 6)
    const answers = records.map((data) => {
      const front = Buffer.alloc(12)
      front.writeUInt16BE(0xc00c, 0)
      front.writeUInt16BE(kind, 2)
      front.writeUInt16BE(1, 4)
      front.writeUInt32BE(nameServerTtl, 6)
      front.writeUInt16BE(data.length, 10)
      return Buffer.concat([front, data])
    })
    socket.send(Buffer.concat([head, question.subarray(12, end + 4), ...answers]), from.port, from.address)
  })
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
  const close = (): Promise<void> => new Promise((resolve) => socket.close(() => resolve()))
  return { address: `127.0.0.1:${socket.address().port}`, hosts, services, broken, asked, close }
}

function recordsOf(
  kind: number,
  addresses: readonly string[] = [],
  places: readonly Place[] = [],
): readonly Buffer[] {
  if (kind === 1) return addresses.filter((text) => !text.includes(':')).map(v4)
  if (kind === 28) return addresses.filter((text) => text.includes(':')).map(v6)
  if (kind !== 33) return []
  return places.map(({ name, port, priority, weight }) => {
    const numbers = Buffer.alloc(6)
    numbers.writeUInt16BE(priority, 0)
    numbers.writeUInt16BE(weight, 2)
    numbers.writeUInt16BE(port, 4)
    return Buffer.concat([numbers, nameBytes(name)])
  })
}

function v4(text: string): Buffer {
  return Buffer.from(text.split('.').map(Number))
}

function v6(text: string): Buffer {
  const [before = '', after] = text.split('::')
  const words = (part: string): readonly string[] => (part === '' ? [] : part.split(':'))
  const tail = words(after ?? '')
  const zeros = Array.from({ length: 8 - words(before).length - tail.length }, () => '0')
  const bytes = Buffer.alloc(16)
  for (const [index, word] of [...words(before), ...zeros, ...tail].entries()) {
    bytes.writeUInt16BE(Number.parseInt(word, 16), index * 2)
  }
  return bytes
}

function nameBytes(name: string): Buffer {
  const labels = name === '.' ? [] : name.split('.')
  const parts = labels.map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]))
  return Buffer.concat([...parts, Buffer.from([0])])
}

function readName(message: Buffer, start: number): { readonly name: string; readonly end: number } {
  const labels: string[] = []
  let at = start
  for (let length = message[at] ?? 0; length > 0; length = message[at] ?? 0) {
    labels.push(message.toString('latin1', at + 1, at + 1 + length))
    at += 1 + length
  }
  return { name: labels.join('.').toLowerCase(), end: at + 1 }
}
