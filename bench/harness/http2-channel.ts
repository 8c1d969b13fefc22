/** Unary gRPC calls through `node:http2`, as the usual gRPC library of Node does them; for `--etcd-client http2`. */
import { once } from 'node:events'
import { connect, type ClientHttp2Session } from 'node:http2'

const PREFIX_BYTES = 5

/** One connection. */
export class Http2Channel {
  readonly #session: ClientHttp2Session
  #isBroken = false

  private constructor(session: ClientHttp2Session) {
    this.#session = session
    session.on('error', () => (this.#isBroken = true))
    session.on('close', () => (this.#isBroken = true))
  }

  /** @throws when nobody listens there */
  static async open(port: number): Promise<Http2Channel> {
    const session = connect(`http://127.0.0.1:${port}`)
    await once(session, 'connect')
    return new Http2Channel(session)
  }

  get isBroken(): boolean {
    return this.#isBroken
  }

  call(path: string, message: Uint8Array): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      const stream = this.#session.request({
        ':method': 'POST',
        ':path': path,
        'content-type': 'application/grpc',
        te: 'trailers',
      })
      const parts: Buffer[] = []
      stream.on('data', (part: Buffer) => parts.push(part))
      stream.on('error', reject)
      stream.on('close', () => {
        // The server of a unary call sends a message if and only if its status is OK.
        if (parts.length === 0) reject(new Error(`The call ${path} was refused`))
        else resolve(Buffer.concat(parts).subarray(PREFIX_BYTES))
      })
      const body = Buffer.allocUnsafe(PREFIX_BYTES + message.length)
      body[0] = 0
      body.writeUInt32BE(message.length, 1)
      body.set(message, PREFIX_BYTES)
      stream.end(body)
    })
  }

  close(): void {
    this.#session.destroy()
  }
}
