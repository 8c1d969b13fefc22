/** CRC-32C against published vectors and against its definition. */
import fc from 'fast-check'
import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'

const { crc32c } = await sourceModule<typeof import('../../packages/runtime/src/platform/crc32c.ts')>(
  'runtime',
  'platform/crc32c',
)

void test('crc32c gives the published values', async (t) => {
  const hex = (bytes: Uint8Array): string => crc32c(bytes).toString(16).padStart(8, '0')
  const filled = (value: (i: number) => number): Uint8Array =>
    Uint8Array.from({ length: 32 }, (_, i) => value(i))
  t.equal(hex(new Uint8Array(0)), '00000000', 'nothing')
  t.equal(hex(new TextEncoder().encode('123456789')), 'e3069283', 'the check value of the catalogue')
  // RFC 3720, appendix B.4, which prints the bytes in the order of the wire.
  t.equal(hex(filled(() => 0)), '8a9136aa', '32 zeros')
  t.equal(hex(filled(() => 0xff)), '62a8ab43', '32 ones')
  t.equal(hex(filled((i) => i)), '46dd794e', 'rising')
  t.equal(hex(filled((i) => 31 - i)), '113fdb5c', 'falling')
  const read = Uint8Array.of(
    ...[0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 0x04, 0],
    ...[0, 0, 0, 0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0, 0],
  )
  t.equal(hex(read), 'd9963a56', 'an iSCSI read command')
})

void test('crc32c of parts is that of the whole, and every flipped bit changes it', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), fc.nat(64), fc.nat(), (bytes, cut, at) => {
      const whole = crc32c(bytes)
      if (crc32c(bytes.subarray(cut), crc32c(bytes.subarray(0, cut))) !== whole) return false
      if (bytes.length === 0) return true
      const flipped = Uint8Array.from(bytes)
      const bit = at % (8 * bytes.length)
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7))
      return crc32c(flipped) !== whole
    }),
  )
  t.pass('held for every case')
})
