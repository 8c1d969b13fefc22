/** The same as a test, here of node:test. Put `wrongBoxOffice` in, and see it red. */
import { test } from 'node:test'
import { testSystemSimulation } from '@understudy/runtime/simulation'
import { lastSeat } from './last-seat.ts'
import { mendedBoxOffice } from './mended-box-office.ts'

await testSystemSimulation(test, 'no seat is sold twice', { seeds: 200 }, lastSeat(mendedBoxOffice))
