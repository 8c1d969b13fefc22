/**
 * Unary gRPC calls over one HTTP/2 connection without TLS, with nothing but what they need. Frames are written by hand
 * because the client shares the cores with what it measures: `node:http2` takes several times the processor time a call.
 * All calls of one turn leave in one write.
 */
import { connect, type Socket } from 'node:net'
import { once } from 'node:events'

const FRAME_HEADER_BYTES = 9
const DATA = 0
const HEADERS = 1
const RST_STREAM = 3
const SETTINGS = 4
const PING = 6
const GOAWAY = 7
const WINDOW_UPDATE = 8
const ACK = 1
const END_STREAM = 1
const END_HEADERS = 4
const SETTINGS_HEADER_TABLE_SIZE = 1
const SETTINGS_INITIAL_WINDOW_SIZE = 4
const WINDOW_DEFAULT = 65_535
const WINDOW_OWN = 1 << 30
const GRPC_PREFIX_BYTES = 5
const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1')

interface Call {
  readonly resolve: (message: Uint8Array) => void
  readonly reject: (error: Error) => void
  message: Buffer | undefined
}

/** One connection. After an error every call rejects; make a new one. */
export class GrpcConnection {
  readonly #socket: Socket
  readonly #authority: string
  readonly #headers = new Map<string, Buffer>()
  readonly #calls = new Map<number, Call>()
  #nextStream = 1
  /** Bytes of DATA that the server takes at this moment. */
  #window = WINDOW_DEFAULT
  #blocked: { readonly stream: number; readonly head: Buffer; readonly message: Uint8Array }[] = []
  #outbox: Uint8Array[] = []
  #rest: Buffer = Buffer.alloc(0)
  #taken = 0
  #error: Error | undefined

  private constructor(socket: Socket, authority: string) {
    this.#socket = socket
    this.#authority = authority
    socket.setNoDelay(true)
    socket.on('data', (bytes: Buffer) => this.#receive(bytes))
    socket.on('error', (error) => this.#fail(error))
    socket.on('close', () => this.#fail(new Error(`The connection to ${authority} is closed`)))
    const settings = Buffer.alloc(12)
    settings.writeUInt16BE(SETTINGS_HEADER_TABLE_SIZE, 0)
    settings.writeUInt16BE(SETTINGS_INITIAL_WINDOW_SIZE, 6)
    settings.writeUInt32BE(WINDOW_OWN, 8)
    this.#write([preface, frame(SETTINGS, 0, 0, settings), windowUpdate(WINDOW_OWN - WINDOW_DEFAULT)])
  }

  /** @throws when nobody listens there */
  static async open(port: number): Promise<GrpcConnection> {
    const socket = connect({ host: '127.0.0.1', port })
    await once(socket, 'connect')
    return new GrpcConnection(socket, `127.0.0.1:${port}`)
  }

  get isBroken(): boolean {
    return this.#error !== undefined
  }

  /** Calls `path` ("/package.Service/Method") with an encoded message; resolves with the encoded answer. */
  call(path: string, message: Uint8Array): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      if (this.#error !== undefined) return reject(this.#error)
      const stream = this.#nextStream
      this.#nextStream += 2
      this.#calls.set(stream, { resolve, reject, message: undefined })
      const head = this.#headersFor(path)
      if (this.#blocked.length > 0 || this.#window < message.length + GRPC_PREFIX_BYTES)
        this.#blocked.push({ stream, head, message })
      else this.#send(stream, head, message)
    })
  }

  close(): void {
    this.#socket.destroy()
  }

  #headersFor(path: string): Buffer {
    let block = this.#headers.get(path)
    if (block === undefined) {
      block = Buffer.concat([
        // HPACK: :method POST and :scheme http from the static table, the others literal, never indexed.
        Buffer.from([0x83, 0x86, 0x04]),
        literal(path),
        Buffer.from([0x01]),
        literal(this.#authority),
        Buffer.from([0x0f, 0x10]),
        literal('application/grpc'),
        Buffer.from([0x00]),
        literal('te'),
        literal('trailers'),
      ])
      this.#headers.set(path, block)
    }
    return block
  }

  #send(stream: number, head: Buffer, message: Uint8Array): void {
    const dataBytes = GRPC_PREFIX_BYTES + message.length
    this.#window -= dataBytes
    const out = Buffer.allocUnsafe(2 * FRAME_HEADER_BYTES + head.length + dataBytes)
    let at = frameHeader(out, 0, head.length, HEADERS, END_HEADERS, stream)
    head.copy(out, at)
    at = frameHeader(out, at + head.length, dataBytes, DATA, END_STREAM, stream)
    out[at++] = 0
    at = out.writeUInt32BE(message.length, at)
    out.set(message, at)
    this.#write([out])
  }

  #write(parts: readonly Uint8Array[]): void {
    if (this.#outbox.length === 0) queueMicrotask(() => this.#flush())
    this.#outbox.push(...parts)
  }

  #flush(): void {
    const parts = this.#outbox
    this.#outbox = []
    if (this.#error !== undefined) return
    this.#socket.write(parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts))
  }

  #receive(bytes: Buffer): void {
    const all = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes])
    let at = 0
    while (all.length - at >= FRAME_HEADER_BYTES) {
      const length = all.readUIntBE(at, 3)
      const end = at + FRAME_HEADER_BYTES + length
      if (end > all.length) break
      const [type = 0, flags = 0] = all.subarray(at + 3, at + 5)
      this.#frame(type, flags, all.readUInt32BE(at + 5), all.subarray(at + FRAME_HEADER_BYTES, end))
      at = end
    }
    this.#rest = all.subarray(at)
  }

  #frame(type: number, flags: number, stream: number, payload: Buffer): void {
    const call = this.#calls.get(stream)
    switch (type) {
      case DATA:
        if (call !== undefined)
          call.message = call.message === undefined ? payload : Buffer.concat([call.message, payload])
        this.#taken += payload.length
        if (this.#taken > WINDOW_OWN / 4) {
          this.#write([windowUpdate(this.#taken)])
          this.#taken = 0
        }
        break
      case HEADERS:
        if (call === undefined || (flags & END_STREAM) === 0) break
        this.#calls.delete(stream)
        // The server of a unary call sends a message if and only if its status is OK.
        if (call.message !== undefined) call.resolve(call.message.subarray(GRPC_PREFIX_BYTES))
        else call.reject(new Error(`${this.#authority} refused the call: ${printable(payload)}`))
        break
      case RST_STREAM:
        this.#calls.delete(stream)
        call?.reject(new Error(`${this.#authority} reset the call`))
        break
      case SETTINGS:
        if ((flags & ACK) === 0) this.#write([frame(SETTINGS, ACK, 0, Buffer.alloc(0))])
        break
      case PING:
        if ((flags & ACK) === 0) this.#write([frame(PING, ACK, 0, payload)])
        break
      case GOAWAY:
        this.#fail(new Error(`${this.#authority} said good-bye: ${printable(payload.subarray(8))}`))
        break
      case WINDOW_UPDATE:
        if (stream === 0) this.#unblock(payload.readUInt32BE(0))
        break
      default:
    }
  }

  #unblock(bytes: number): void {
    this.#window += bytes
    let sent = 0
    for (const { stream, head, message } of this.#blocked) {
      if (this.#window < message.length + GRPC_PREFIX_BYTES) break
      this.#send(stream, head, message)
      sent++
    }
    if (sent > 0) this.#blocked = this.#blocked.slice(sent)
  }

  #fail(error: Error): void {
    if (this.#error !== undefined) return
    this.#error = error
    this.#socket.destroy()
    for (const call of this.#calls.values()) call.reject(error)
    this.#calls.clear()
  }
}

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const out = Buffer.alloc(FRAME_HEADER_BYTES + payload.length)
  payload.copy(out, frameHeader(out, 0, payload.length, type, flags, stream))
  return out
}

/** Returns where the payload begins. */
function frameHeader(
  out: Buffer,
  at: number,
  length: number,
  type: number,
  flags: number,
  stream: number,
): number {
  const typeAt = out.writeUIntBE(length, at, 3)
  out[typeAt] = type
  out[typeAt + 1] = flags
  return out.writeUInt32BE(stream, typeAt + 2)
}

function windowUpdate(bytes: number): Buffer {
  const payload = Buffer.alloc(4)
  payload.writeUInt32BE(bytes, 0)
  return frame(WINDOW_UPDATE, 0, 0, payload)
}

/** A string of HPACK without Huffman coding. */
function literal(text: string): Buffer {
  if (text.length >= 127) throw new RangeError(`The header "${text}" is too long: at most 126 characters`)
  return Buffer.concat([Buffer.from([text.length]), Buffer.from(text, 'latin1')])
}

function printable(bytes: Buffer): string {
  return bytes.toString('latin1').replaceAll(/[^ -~]+/g, ' ')
}
