/**
 * A member that watches, announces and takes credit back as often as it is let: there is a bound, whoever passes it is cut off, all of it is given back with the
 * link, and others are served meanwhile.
 */
import { test } from 'tap'
import { flood, longName, type Flood } from '../support/flood.ts'

const fields = Array.from({ length: 256 }, (_, n) => `${n}${'y'.repeat(240)}`)
const floods: readonly Flood[] = [
  { what: 'watches', most: 1_000_000, mib: 256, envelope: (n) => [6, n, 0] },
  {
    what: 'recipients without credit, of the longest names',
    most: 65_536,
    mib: 192,
    envelope: (n) => [15, [0, `/${n}${longName}`, null], 0],
  },
  {
    what: 'recipients, of the longest names',
    most: 16_382,
    mib: 64,
    envelope: (n) => [1, n + 2, [0, `/${n}${longName}`, null]],
  },
  {
    what: 'types, of the longest names',
    most: 4_095,
    mib: 384,
    envelope: (n) => [0, n + 1, 'p', `t${n}`, fields.map((field) => `${field}${n}`)],
  },
]

for (const each of floods) {
  const { what, most } = each
  void test(
    `a flood of ${what}: ${most} are taken, one more cuts the link, and nothing is left`,
    { timeout: 120_000 },
    (t) => flood(t, each),
  )
}
