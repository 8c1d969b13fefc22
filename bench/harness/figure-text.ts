/** How the tables write figures. */
import type { Spread } from './sample.ts'

/** "1.23 (1.20-1.31)": the median with least and most, each times `factor`. */
export function showSpread({ median, min, max }: Spread, factor: number): string {
  const show = (value: number): string => showFigure(value * factor)
  return `${show(median)} (${show(min)}-${show(max)})`
}

/** With three digits, and all of those before the point. */
export function showFigure(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)
}

/** The last column of a row that has a promise. */
export function wordFor(isMet: boolean): string {
  return isMet ? 'ok' : 'BELOW'
}
