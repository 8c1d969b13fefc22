/** The ways out of a simulation that Node offers, as data: where each call is found, and what simulated code uses instead. */

/** What holds for a group of calls. */
export interface AmbientRule {
  /** Ends the sentence "Use ...". */
  readonly instead: string
  /** Whoever may do IO is let through. */
  readonly isIo?: boolean | undefined
  /** It changes nothing that simulated code can see: it runs as nobody's call. */
  readonly isHarmless?: boolean | undefined
  /** Only calls with such arguments. @default all calls */
  readonly concerns?: ((args: readonly unknown[], isNew: boolean) => boolean) | undefined
}

/** Calls that are found in one place. Names that a version of Node does not have are passed over. */
export interface AmbientCalls {
  /** A path from the global object, such as `Date.prototype`, or a builtin module: `node:fs`. */
  readonly place: string
  /** Goes before the name in messages. @default `place` with a dot, without `node:`; '' for the global object */
  readonly prefix?: string | undefined
  /** `functions`: every function there whose name begins with a small letter. */
  readonly names: readonly string[] | 'functions'
  /** They are no functions, and tell already when they are read. @default false */
  readonly isValue?: boolean | undefined
  readonly rule: AmbientRule
}

const wall: AmbientRule = { instead: "ctx.wallMs() in an actor, or the world's clock in a scenario" }
const monotonic: AmbientRule = { instead: "ctx.now() in an actor, or the world's clock in a scenario" }
const chance: AmbientRule = { instead: "ctx.random in an actor, or the world's random stream in a scenario" }
const secrets: AmbientRule = {
  instead: 'ctx.random for what need not be secret, or a service for what must be',
}
const timers: AmbientRule = { instead: 'ctx.timers in an actor, or sleep on virtual time in a scenario' }
const microtasks: AmbientRule = { instead: 'await, or a message to itself' }
const io: AmbientRule = { instead: 'a service (ctx.service), which a simulation replaces', isIo: true }
const machine: AmbientRule = {
  instead: 'a service (ctx.service): it differs from machine to machine',
  isIo: true,
}
const threads: AmbientRule = { instead: 'another actor, or a service', isIo: true }
const offThread: AmbientRule = { instead: 'the synchronous form, or a service', isIo: true }
const collection: AmbientRule = { instead: 'an explicit close(): collection has no fixed time' }
const life: AmbientRule = { instead: 'ctx.stop, or a fault of the scenario: it would end the test run' }
const zone: AmbientRule = { instead: 'toISOString() or the getUTC and setUTC methods: time zones differ' }
const harmless: AmbientRule = { instead: 'ctx.log', isHarmless: true }
const withCallback: AmbientRule = { ...offThread, concerns: (args) => typeof args.at(-1) === 'function' }
const firstLocale: AmbientRule = {
  instead: 'an explicit locale, such as "en"',
  concerns: ([locale]) => isOpen(locale),
}
const secondLocale: AmbientRule = { ...firstLocale, concerns: ([, locale]) => isOpen(locale) }
const dateFormat: AmbientRule = {
  instead: 'an explicit locale and time zone, such as "en" and { timeZone: "UTC" }',
  concerns: ([locale, options]) =>
    isOpen(locale) || isOpen((options as { readonly timeZone?: unknown } | undefined)?.timeZone),
}

/** In this order: a function that stands in two places is named after the first. */
export const ambientCalls: readonly AmbientCalls[] = [
  { place: 'Date', names: ['now'], rule: wall },
  // `Date()` ignores its arguments and tells the time.
  { place: '', names: ['Date'], rule: { ...wall, concerns: (args, isNew) => !isNew || args.length === 0 } },
  {
    place: 'Date.prototype',
    names: ['constructor'],
    rule: { ...wall, concerns: (args, isNew) => !isNew || args.length === 0 },
  },
  {
    place: 'Date.prototype',
    names: [
      ...[
        'getDate',
        'getDay',
        'getFullYear',
        'getHours',
        'getMinutes',
        'getMonth',
        'getYear',
        'getTimezoneOffset',
      ],
      ...['setDate', 'setFullYear', 'setHours', 'setMinutes', 'setMonth', 'setYear'],
      ...['toString', 'toDateString', 'toTimeString'],
    ],
    rule: zone,
  },
  {
    place: 'Date.prototype',
    names: ['toLocaleString', 'toLocaleDateString', 'toLocaleTimeString'],
    rule: dateFormat,
  },
  {
    place: 'performance',
    names: ['now', 'mark', 'measure', 'toJSON', 'timerify', 'eventLoopUtilization'],
    rule: monotonic,
  },
  { place: 'performance', names: ['timeOrigin', 'nodeTiming'], isValue: true, rule: monotonic },
  {
    place: 'node:perf_hooks',
    names: ['eventLoopUtilization', 'timerify', 'monitorEventLoopDelay'],
    rule: monotonic,
  },
  { place: 'process', names: ['hrtime', 'uptime'], rule: monotonic },

  { place: 'Math', names: ['random'], rule: chance },
  { place: 'Crypto.prototype', prefix: 'crypto.', names: ['getRandomValues', 'randomUUID'], rule: secrets },
  { place: 'SubtleCrypto.prototype', prefix: 'crypto.subtle.', names: 'functions', rule: offThread },
  {
    place: 'node:crypto',
    names: [
      ...['randomBytes', 'pseudoRandomBytes', 'prng', 'rng', 'randomInt', 'randomUUID', 'randomUUIDv7'],
      ...[
        'randomFill',
        'randomFillSync',
        'getRandomValues',
        'generateKey',
        'generateKeySync',
        'generateKeyPair',
      ],
      ...['generateKeyPairSync', 'generatePrime', 'generatePrimeSync', 'publicEncrypt', 'encapsulate'],
    ],
    rule: secrets,
  },
  { place: 'node:crypto', names: ['pbkdf2', 'scrypt', 'hkdf', 'argon2', 'checkPrime'], rule: offThread },
  { place: 'node:crypto', names: ['sign', 'verify', 'diffieHellman', 'decapsulate'], rule: withCallback },

  { place: '', names: ['setTimeout', 'setInterval', 'setImmediate'], rule: timers },
  { place: '', names: ['queueMicrotask'], rule: microtasks },
  { place: 'process', names: ['nextTick'], rule: microtasks },
  { place: 'node:timers', names: ['setTimeout', 'setInterval', 'setImmediate'], rule: timers },
  {
    place: 'node:timers/promises',
    prefix: 'timers.promises.',
    names: ['setTimeout', 'setInterval', 'setImmediate'],
    rule: timers,
  },
  { place: 'node:timers/promises#scheduler', prefix: 'scheduler.', names: ['wait', 'yield'], rule: timers },
  { place: 'scheduler', names: ['wait', 'yield', 'postTask'], rule: timers },
  { place: 'AbortSignal', names: ['timeout'], rule: timers },
  { place: 'Atomics', names: ['wait', 'waitAsync'], rule: timers },

  { place: 'process', names: ['exit', 'reallyExit', 'abort', 'kill'], rule: life },
  {
    place: 'process',
    names: [
      ...[
        'memoryUsage',
        'cpuUsage',
        'threadCpuUsage',
        'resourceUsage',
        'constrainedMemory',
        'availableMemory',
      ],
      ...['chdir', 'umask'],
    ],
    rule: machine,
  },
  {
    place: 'node:os',
    names: [
      ...['availableParallelism', 'cpus', 'freemem', 'totalmem', 'loadavg', 'uptime', 'hostname', 'userInfo'],
      ...['networkInterfaces', 'homedir', 'tmpdir'],
    ],
    rule: machine,
  },
  {
    place: 'node:v8',
    names: ['getHeapStatistics', 'getHeapSpaceStatistics', 'getHeapSnapshot'],
    rule: machine,
  },

  { place: '', names: ['fetch', 'WebSocket', 'EventSource'], rule: io },
  { place: '', names: ['MessageChannel', 'BroadcastChannel'], rule: threads },
  { place: '', names: ['CompressionStream', 'DecompressionStream'], rule: offThread },
  {
    place: 'WebAssembly',
    names: ['compile', 'instantiate', 'compileStreaming', 'instantiateStreaming'],
    rule: { ...offThread, instead: 'new WebAssembly.Module(bytes) and new WebAssembly.Instance(module)' },
  },
  { place: 'node:fs', names: 'functions', rule: io },
  { place: 'node:fs', names: ['ReadStream', 'WriteStream', 'FileReadStream', 'FileWriteStream'], rule: io },
  { place: 'node:fs/promises', prefix: 'fs.promises.', names: 'functions', rule: io },
  {
    place: 'node:net',
    names: ['connect', 'createConnection', 'createServer', 'Socket', 'Stream', 'Server'],
    rule: io,
  },
  { place: 'node:tls', names: ['connect', 'createServer', 'TLSSocket', 'Server'], rule: io },
  {
    place: 'node:http',
    names: ['get', 'request', 'createServer', 'Server', 'ClientRequest', 'WebSocket', 'EventSource'],
    rule: io,
  },
  { place: 'node:https', names: ['get', 'request', 'createServer', 'Server'], rule: io },
  { place: 'node:http2', names: ['connect', 'createServer', 'createSecureServer'], rule: io },
  { place: 'node:dns', names: 'functions', rule: io },
  { place: 'node:dns', names: ['Resolver'], rule: io },
  { place: 'node:dns/promises', prefix: 'dns.promises.', names: 'functions', rule: io },
  { place: 'node:dns/promises', prefix: 'dns.promises.', names: ['Resolver'], rule: io },
  { place: 'node:dgram', names: ['createSocket', 'Socket'], rule: io },
  { place: 'node:child_process', names: 'functions', rule: io },
  { place: 'node:worker_threads', names: ['Worker'], rule: threads },
  { place: 'node:worker_threads', prefix: '', names: ['MessageChannel', 'BroadcastChannel'], rule: threads },
  { place: 'node:readline', names: ['createInterface', 'Interface'], rule: io },
  {
    place: 'node:readline/promises',
    prefix: 'readline.promises.',
    names: ['createInterface', 'Interface'],
    rule: io,
  },
  {
    place: 'node:zlib',
    names: [
      ...['deflate', 'inflate', 'gzip', 'gunzip', 'deflateRaw', 'inflateRaw', 'unzip', 'brotliCompress'],
      ...[
        'brotliDecompress',
        'zstdCompress',
        'zstdDecompress',
        'createDeflate',
        'createInflate',
        'createGzip',
      ],
      ...['createGunzip', 'createDeflateRaw', 'createInflateRaw', 'createUnzip', 'createBrotliCompress'],
      ...[
        'createBrotliDecompress',
        'createZstdCompress',
        'createZstdDecompress',
        'Deflate',
        'Inflate',
        'Gzip',
      ],
      ...[
        'Gunzip',
        'DeflateRaw',
        'InflateRaw',
        'Unzip',
        'BrotliCompress',
        'BrotliDecompress',
        'ZstdCompress',
      ],
      ...['ZstdDecompress'],
    ],
    rule: offThread,
  },

  { place: '', names: ['WeakRef', 'FinalizationRegistry'], rule: collection },
  {
    place: 'Intl',
    names: [
      ...['Collator', 'DisplayNames', 'DurationFormat', 'ListFormat', 'NumberFormat', 'PluralRules'],
      ...['RelativeTimeFormat', 'Segmenter'],
    ],
    rule: firstLocale,
  },
  { place: 'Intl', names: ['DateTimeFormat'], rule: dateFormat },
  { place: 'String.prototype', names: ['localeCompare'], rule: secondLocale },
  { place: 'String.prototype', names: ['toLocaleLowerCase', 'toLocaleUpperCase'], rule: firstLocale },
  { place: 'Number.prototype', names: ['toLocaleString'], rule: firstLocale },
  { place: 'BigInt.prototype', names: ['toLocaleString'], rule: firstLocale },
  { place: 'Array.prototype', names: ['toLocaleString'], rule: firstLocale },

  // They write with timers and ticks of their own, which are not the actor's.
  { place: 'console', names: 'functions', rule: harmless },
  { place: 'process', names: ['emitWarning'], rule: harmless },
]

/**
 * Async resources that synchronous calls make too, and that stand for nothing to wait for then. The calls that do wait
 * are all in the table.
 */
export const innocentResources: ReadonlySet<string> = new Set([
  ...[
    'PROMISE',
    'ZLIB',
    'HASHREQUEST',
    'PBKDF2REQUEST',
    'SCRYPTREQUEST',
    'ARGON2REQUEST',
    'DERIVEBITSREQUEST',
  ],
  ...['CHECKPRIMEREQUEST', 'SIGNREQUEST'],
])

function isOpen(value: unknown): boolean {
  return value === undefined
}
