/**
 * TLS between nodes: the material (certificate, key, authorities), where it comes from, how it is changed while links
 * stand, and what its errors mean. What opens it (`node:tls`) is handed in by server.ts.
 */
import { ipBytes } from '../wire/address-range.ts'
import { badTls, TransportError } from './transport-error.ts'
import type { PeerCertificate } from './transport.ts'

/** One or more PEM blocks. */
export type Pem = string | Uint8Array

/** What a node needs to speak TLS. */
export interface TlsMaterial {
  /** The node's certificate in PEM, with the intermediate ones behind it. It serves for listening and for dialling. */
  readonly cert: Pem
  /** Its private key in PEM, without a passphrase. */
  readonly key: Pem
  /**
   * Certificates of the authorities that vouch for the other nodes, in PEM. Give the cluster one of its own: whoever has
   * a certificate of it is let through. @default the public ones that Node.js carries; none for those who dial us
   */
  readonly ca?: Pem | readonly Pem[] | undefined
  /**
   * Mutual TLS: whoever dials must show a certificate of `ca` too, or gets no node link. Users' HTTP requests and
   * WebSockets need none. @default true when `ca` is given
   */
  readonly requirePeerCertificate?: boolean | undefined
  /**
   * The host name that certificates of dialled nodes must bear, for a cluster whose nodes share one name.
   * @default the host of the dialled address
   */
  readonly serverName?: string | undefined
  /** The oldest version that is spoken. @default 'TLSv1.3' */
  readonly minVersion?: 'TLSv1.2' | 'TLSv1.3' | undefined
}

/** Material, or who has it: asked when the transport first listens or dials, and at each `reloadTls()`. */
export type TlsSource = TlsMaterial | (() => TlsMaterial | Promise<TlsMaterial>)

/** `TlsMaterial` with its defaults. */
export interface CheckedTlsMaterial {
  readonly cert: Pem
  readonly key: Pem
  readonly ca: readonly Pem[] | undefined
  readonly requirePeerCertificate: boolean
  readonly serverName: string | undefined
  readonly minVersion: 'TLSv1.2' | 'TLSv1.3'
}

/** Material in use, with what was opened from it. */
export interface TlsInUse<Context> {
  readonly material: CheckedTlsMaterial
  readonly context: Context
}

const HOST_NAME = /^(?=.{1,253}$)[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?$/i

/**
 * Keeps the material of one transport. New material takes the place of the old one as a whole, or not at all.
 */
export class TlsKeeper<Context> {
  readonly #source: TlsSource
  readonly #open: (material: CheckedTlsMaterial) => Context
  #inUse: TlsInUse<Context> | undefined
  #loading: Promise<TlsInUse<Context>> | undefined
  /** Reloads happen one after the other, so that the one that was asked for last stands. */
  #line: Promise<unknown> = Promise.resolve()

  /** `open` throws an `Error` that says what is wrong with the material. */
  constructor(source: TlsSource, open: (material: CheckedTlsMaterial) => Context) {
    this.#source = source
    this.#open = open
  }

  /** What is in use now, if anything was loaded. */
  get inUse(): TlsInUse<Context> | undefined {
    return this.#inUse
  }

  /**
   * The material in use; loads it the first time. A failed load is tried again by the next call.
   *
   * @throws {TransportError} (as a rejection) CLUSTER_BAD_TLS
   */
  current(): Promise<TlsInUse<Context>> {
    if (this.#inUse !== undefined) return Promise.resolve(this.#inUse)
    this.#loading ??= this.#load('use the TLS material')
      .then((loaded) => (this.#inUse ??= loaded))
      .finally(() => {
        this.#loading = undefined
      })
    return this.#loading
  }

  /**
   * Asks the source again. `apply` puts the new material to work before it counts as in use; if it throws, or the
   * material is bad, all stays as it was.
   *
   * @throws {TransportError} (as a rejection) CLUSTER_BAD_TLS
   */
  reload(apply: (next: TlsInUse<Context>) => void): Promise<void> {
    const turn = this.#line.then(async () => {
      const next = await this.#load('reload TLS')
      apply(next)
      this.#inUse = next
    })
    this.#line = turn.catch(() => undefined)
    return turn
  }

  async #load(attempt: string): Promise<TlsInUse<Context>> {
    try {
      const given = typeof this.#source === 'function' ? await this.#source() : this.#source
      const material = checkTlsMaterial(given)
      return { material, context: this.#open(material) }
    } catch (error) {
      if (error instanceof TransportError) throw error
      throw badTls(attempt, error instanceof Error ? error.message : String(error), error)
    }
  }
}

/** Fills in the defaults. @throws {TypeError} if something is missing, or does not go together. */
export function checkTlsMaterial(given: TlsMaterial): CheckedTlsMaterial {
  if (typeof given !== 'object' || given === null) {
    throw new TypeError('TLS material must be an object with "cert" and "key"')
  }
  for (const field of ['cert', 'key'] as const) {
    if (!isPem(given[field])) {
      throw new TypeError(`"${field}" must be PEM, as text or bytes: it begins with "-----BEGIN"`)
    }
  }
  const ca = given.ca === undefined ? undefined : asList(given.ca)
  if (ca !== undefined && (ca.length === 0 || !ca.every(isPem))) {
    throw new TypeError('"ca" must be PEM, or a list of PEM texts that is not empty')
  }
  const requirePeerCertificate = given.requirePeerCertificate ?? ca !== undefined
  if (requirePeerCertificate && ca === undefined) {
    throw new TypeError(
      '"requirePeerCertificate" needs "ca": with the public authorities anybody who has a website would be let in',
    )
  }
  const { serverName, minVersion = 'TLSv1.3' } = given
  if (serverName !== undefined && (!HOST_NAME.test(serverName) || ipBytes(serverName) !== undefined)) {
    throw new TypeError(
      `"serverName" must be a host name, got "${serverName}"; certificates with internet addresses need none`,
    )
  }
  if (minVersion !== 'TLSv1.2' && minVersion !== 'TLSv1.3') {
    throw new TypeError(`"minVersion" must be "TLSv1.2" or "TLSv1.3", got "${String(minVersion)}"`)
  }
  return { cert: given.cert, key: given.key, ca, requirePeerCertificate, serverName, minVersion }
}

function asList(ca: Pem | readonly Pem[]): readonly Pem[] {
  return typeof ca === 'string' || ca instanceof Uint8Array ? [ca] : ca
}

function isPem(value: unknown): boolean {
  if (typeof value !== 'string' && !(value instanceof Uint8Array)) return false
  return pemText(value).includes('-----BEGIN ')
}

/** The text of PEM bytes; PEM is ASCII. */
export function pemText(pem: Pem): string {
  return typeof pem === 'string' ? pem : new TextDecoder('latin1').decode(pem)
}

/** The single certificates of PEM text. */
export function pemCertificates(pem: Pem): readonly string[] {
  return pemText(pem).match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? []
}

/**
 * Who a verified certificate speaks of. `subject` has one part a line; `names` is the text of its subjectAltName, in which
 * values with special characters are quoted as JSON strings, so that no name can pretend to be two.
 */
export function peerCertificate(subject: string, names: string | undefined): PeerCertificate {
  const found: string[] = []
  for (const [, kind, quoted, plain] of (names ?? '').matchAll(
    /(\w[\w ]*):(?:"((?:[^"\\]|\\.)*)"|([^,]*))/g,
  )) {
    if (kind !== 'DNS' && kind !== 'IP Address' && kind !== 'URI') continue
    const value = quoted === undefined ? plain : unquoted(quoted)
    if (value !== undefined && value !== '') found.push(kind === 'DNS' ? value.toLowerCase() : value)
  }
  return { subject: subject.trim().split('\n').join(', '), names: found }
}

function unquoted(text: string): string | undefined {
  try {
    return String(JSON.parse(`"${text}"`))
  } catch {
    return undefined
  }
}

/** What to mend, by the code of the error; the codes are those of OpenSSL's verification, of Node.js, and of alerts. */
const reasons: readonly (readonly [RegExp, string])[] = [
  [/^CERT_HAS_EXPIRED$/, 'its certificate has expired; give that node a new one and call its reloadTls()'],
  [
    /^CERT_NOT_YET_VALID$/,
    'its certificate is not valid yet; set the clocks of both machines, or wait until it is',
  ],
  [/^CERT_REVOKED$/, 'its certificate is revoked; give that node a new one'],
  [
    /^ERR_TLS_CERT_ALTNAME/,
    'its certificate is for another host; dial it by a name in its certificate, or set "serverName" to one',
  ],
  [
    /SELF_SIGNED|UNABLE_TO_VERIFY|UNABLE_TO_GET_ISSUER|CERT_UNTRUSTED|CERT_SIGNATURE|INVALID_CA|CERT_CHAIN|PATH_LENGTH|INVALID_PURPOSE/,
    'its certificate is of an authority that is not in our "ca"; add that authority, or give the node one of ours',
  ],
  [
    /ALERT_CERTIFICATE_REQUIRED|ALERT_HANDSHAKE_FAILURE/,
    'it would not do TLS with us: it may demand a certificate; give "cert" and "key" that it accepts',
  ],
  [
    /ALERT_(?:UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE|UNSUPPORTED_CERTIFICATE|ACCESS_DENIED|DECRYPT_ERROR)/,
    'it does not accept our certificate; give us one of its "ca" that has not expired',
  ],
  [
    /PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL|VERSION_TOO_LOW|NO_PROTOCOLS/,
    'there is no version of TLS that both speak; set "minVersion" alike',
  ],
  [
    /WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|RECORD_LAYER|HTTP_REQUEST|UNEXPECTED_MESSAGE/,
    'it does not speak TLS; if it is a node without TLS, its address begins with "ws://"',
  ],
]

/**
 * Why a dial with TLS failed, when it was for TLS: words that say what to mend. Undefined for errors of another kind.
 */
export function tlsReason(error: SocketFault): string | undefined {
  const { code = '', message } = error
  // Some come as EPROTO with the words of OpenSSL: "...:SSL routines:ssl3_read_bytes:tlsv1 alert unknown ca:...".
  const [, openssl] = /:SSL routines:[^:]*:([^:]+):/.exec(message) ?? []
  const fault = openssl?.toUpperCase().replaceAll(' ', '_') ?? code
  const known = reasons.find(([pattern]) => pattern.test(fault))
  if (known !== undefined) {
    const [, words] = known
    const names = error.cert?.subjectaltname
    const detail =
      names === undefined ? fault : `wanted: ${error.host ?? 'that host'}; it bears ${names.slice(0, 500)}`
    return `${words} (${detail})`
  }
  const isTls = /^(?:ERR_SSL_|ERR_TLS_|EPROTO$|CERT_|UNABLE_TO_|CRL_)/.test(code)
  return isTls ? `TLS failed with ${code}: ${message}` : undefined
}

/** An error of a socket. */
export interface SocketFault {
  readonly code?: string | undefined
  readonly message: string
  /** With one of Node.js's own checks: the host that was wanted, and the certificate of the peer. */
  readonly host?: string | undefined
  readonly cert?: { readonly subjectaltname?: string | undefined } | undefined
}
