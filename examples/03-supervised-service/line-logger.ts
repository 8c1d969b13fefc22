import type { Logger, LogLevel } from '@understudy/runtime'

const levels: readonly LogLevel[] = ['debug', 'info', 'warn', 'error', 'fatal']

/** Log lines for people, on standard error: `warn  the message`. The fields of a line are left out. */
export function lineLogger(least: LogLevel): Logger {
  const isLevelEnabled = (level: LogLevel): boolean => levels.indexOf(level) >= levels.indexOf(least)
  const write =
    (level: LogLevel) =>
    (_fields: object, message: string): void => {
      if (isLevelEnabled(level)) process.stderr.write(`${level.padEnd(5)} ${message}\n`)
    }
  const logger: Logger = {
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    fatal: write('fatal'),
    child: () => logger,
    isLevelEnabled,
  }
  return logger
}
