/**
 * The logging seam: five levels and `child`, object first, as pino has it. The one importer of pino.
 */
import { pino } from 'pino'

/** What the packages log through. pino satisfies it; so does `silentLogger`. Log calls never throw and never wait. */
export interface Logger {
  readonly debug: LogMethod
  readonly info: LogMethod
  readonly warn: LogMethod
  readonly error: LogMethod
  readonly fatal: LogMethod
  /** A logger whose every line carries `fields`. */
  readonly child: (fields: Readonly<Record<string, unknown>>) => Logger
  /** False when a line of that level would go nowhere, so that its making can be spared. */
  readonly isLevelEnabled: (level: LogLevel) => boolean
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'fatal'
export type LogMethod = (fields: Readonly<Record<string, unknown>>, message: string) => void

/** Logs nothing. */
export const silentLogger: Logger = Object.freeze({
  debug: ignore,
  info: ignore,
  warn: ignore,
  error: ignore,
  fatal: ignore,
  child: () => silentLogger,
  isLevelEnabled: () => false,
})

/** Where the lines of a `keepingLogger` go. */
export type KeepLine = (level: LogLevel, fields: Readonly<Record<string, unknown>>, message: string) => void

/** Hands every line to `keep`, with the fields that were bound on the way. `lowest`: what is below goes nowhere. */
export function keepingLogger(keep: KeepLine, lowest: 'debug' | 'info' = 'debug'): Logger {
  return boundLogger(keep, lowest, {})
}

function boundLogger(
  keep: KeepLine,
  lowest: 'debug' | 'info',
  bound: Readonly<Record<string, unknown>>,
): Logger {
  const write =
    (level: LogLevel): LogMethod =>
    (fields, message) =>
      keep(level, { ...bound, ...fields }, message)
  return {
    debug: lowest === 'debug' ? write('debug') : ignore,
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    fatal: write('fatal'),
    child: (fields) => boundLogger(keep, lowest, { ...bound, ...fields }),
    isLevelEnabled: (level) => level !== 'debug' || lowest === 'debug',
  }
}

/**
 * JSON lines on standard error through pino. `level` is the lowest level written; default `info`.
 *
 * Lines are written synchronously: a crash report must not be lost with the process that crashed.
 */
export function pinoLogger(options: { readonly level?: LogLevel | 'silent' | undefined } = {}): Logger {
  const instance = pino(
    { level: options.level ?? 'info', base: null },
    pino.destination({ fd: 2, sync: true }),
  )
  return wrapPino(instance)
}

/** Makes any pino logger usable here, so that a program keeps its own transports and redaction. */
export function wrapPino(instance: pino.Logger): Logger {
  return {
    debug: (fields, message) => instance.debug(fields, message),
    info: (fields, message) => instance.info(fields, message),
    warn: (fields, message) => instance.warn(fields, message),
    error: (fields, message) => instance.error(fields, message),
    fatal: (fields, message) => instance.fatal(fields, message),
    child: (fields) => wrapPino(instance.child(fields)),
    isLevelEnabled: (level) => instance.isLevelEnabled(level),
  }
}

function ignore(): void {
  // On purpose: this logger is for those who asked for silence.
}
