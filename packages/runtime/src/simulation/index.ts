/** Entry point `@understudy/runtime/simulation`: one process on virtual time, with every choice drawn from one seed. */
export { ChoiceSource, formatChoices, parseChoices, type Choice, type ChoiceStream } from './choice-source.ts'
export {
  crashEverywhere,
  crashEverywhereDefaults,
  type CrashEverywhereOptions,
  type CrashEverywhereResult,
  type CrashPoint,
} from './crash-everywhere.ts'
export { FaultDriver, faultDefaults, type FaultKind, type FaultOptions, type Injected } from './fault-plan.ts'
export {
  hashBlockSteps,
  type Run,
  type RunInput,
  type RunResult,
  type RunStats,
  type TraceEvent,
  type Violation,
} from './run-result.ts'
export { processFaults, type FaultTarget } from './process-fault.ts'
export { policyNames, type PolicyName } from './scheduler-policy.ts'
export { ScenarioWorld, untilDefaults, type UntilOptions, type Verdict } from './scenario-world.ts'
export { simulateSystem, SystemWorld, type SimulateSystemOptions } from './simulate-system.ts'
export { SimulatedMachine, type MachineOptions } from './simulated-machine.ts'
export { SimulatedProcess, type SimulatedLogLine } from './simulated-process.ts'
export {
  Simulation,
  simulationDefaults,
  type CheckedWhen,
  type Scheduled,
  type SimulationOptions,
} from './simulation.ts'
export { InvariantViolation, ProcessKilled } from './simulation-error.ts'
export { harmfulStoreFaults, storeFaults, type MayHarmStore, type StoreFaultName } from './store-fault.ts'
export { SkewedClock } from './skewed-clock.ts'
export { NondeterminismError } from './nondeterminism-error.ts'
export {
  checkSeeds,
  checkSeedsDefaults,
  type CheckSeedsOptions,
  type SeedFailure,
  type SeedsResult,
  type SeedsTotals,
} from './check-seeds.ts'
export { regressionFile, regressionFileName, type RegressionFileOptions } from './regression-file.ts'
export {
  eventText,
  storyLines,
  timeText,
  traceIndex,
  type StoryLine,
  type StoryOptions,
  type TraceIndex,
} from './story.ts'
export { choiceText, runReport, type RunReportOptions } from './run-report.ts'
export {
  shrink,
  type OtherViolation,
  type ShrinkOptions,
  type ShrinkProgress,
  type ShrinkResult,
} from './shrink.ts'
export { spaceTimeDiagram, spaceTimeSvg, type SpaceTimeOptions } from './space-time-diagram.ts'
export { simulationFailure, type SimulationFailureOptions } from './test-simulation.ts'
export {
  type Tester,
  type SeedTestOptions,
  type SystemSimulationTestOptions,
  testSystemSimulation,
  testSeeds,
  requireSeeds,
  replayCommandOf,
} from './test-seeds.ts'
