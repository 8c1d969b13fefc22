/**
 * A process that runs seeds for `npm run sim`. Its argument is the URL of the module that exports `scenarios`; what to do
 * comes as messages, one task at a time, so that nothing arrives while a run is under way.
 */
import { fileURLToPath } from 'node:url'
import type { RunResult } from '@understudy/runtime/simulation'
import type { Scenario } from './scenario.ts'
import { regressionFile, runReport, shrink, spaceTimeDiagram, storyLines } from './runner/report-parts.ts'
import { replayCommand } from './runner/replay-command.ts'
import type { Job } from './runner/seed-deal.ts'
import type { Explained, ExplainOptions, WorkerMessage, WorkerTask } from './runner/worker-message.ts'

/** Shrinking is over after so much real time; it is a help, not a result. */
const shrinkMsMax = 90_000

const [, , registry = ''] = process.argv
const { scenarios } = (await import(registry)) as { readonly scenarios: readonly Scenario[] }
const byName = new Map(scenarios.map((scenario) => [scenario.name, scenario]))

// A terminal sends it to all processes of the command; only the first one decides what then happens.
process.on('SIGINT', () => {})
process.on('disconnect', () => process.exit())
process.on('message', (task) => {
  perform(task as WorkerTask).catch((error: unknown) => {
    process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
    process.exit(1)
  })
})
await say({ type: 'ready' })

async function perform(task: WorkerTask): Promise<void> {
  switch (task.type) {
    case 'run':
      for (const job of task.jobs) {
        const { violation, choices, stats, hash } = await runJob(job)
        await say({ type: 'ran', summary: { violation, choiceCount: choices.length, stats, hash } })
      }
      break
    case 'trace':
      for (const [at, job] of task.jobs.entries()) {
        const isLast = at === task.jobs.length - 1
        const result = await runJob(job, isLast)
        if (isLast) await say({ type: 'traced', result })
      }
      break
    case 'explain':
      await say({ type: 'explained', explained: await explain(task.job, task.rule, task.options) })
      break
    case 'exit':
      process.exit()
  }
  await say({ type: 'done' })
}

/** Runs one seed. What a scenario throws outside of its world is its own fault, and shows as such. */
async function runJob(job: Job, trace = false): Promise<RunResult> {
  const scenario = byName.get(job.scenario)
  if (scenario === undefined)
    throw new TypeError(`Cannot run "${job.scenario}": ${registry} has no such scenario`)
  try {
    return await scenario.run({ seed: job.seed, choices: job.choices, trace })
  } catch (error) {
    const message = error instanceof Error ? (error.stack ?? error.message) : String(error)
    return {
      seed: job.seed,
      violation: { name: 'run-rejected', message, step: 0, atMs: 0 },
      choices: job.choices ?? [],
      stats: { steps: 0, virtualMs: 0, messages: 0, faults: {}, reached: [] },
      hash: '0'.repeat(16),
      hashBlocks: [],
      trace: [],
    }
  }
}

async function explain(job: Job, rule: string, options: ExplainOptions): Promise<Explained> {
  const failing = await runJob(job, options.shrinkRunsMax === 0)
  const isReproduced = failing.violation?.name === rule
  const untilMs = performance.now() + shrinkMsMax
  const shrunk =
    isReproduced && options.shrinkRunsMax > 0
      ? await shrink(
          // Out of time, nothing counts as failing any more: shrinking then comes to its end by itself.
          async (input) =>
            input.trace !== true && performance.now() > untilMs
              ? { ...failing, violation: undefined, choices: [] }
              : await runJob({ ...job, choices: input.choices }, input.trace),
          failing,
          {
            runsMax: options.shrinkRunsMax,
            onProgress: ({ runs, from, choices }) => void say({ type: 'shrinking', runs, from, choices }),
          },
        )
      : undefined
  const isOutOfTime = performance.now() > untilMs && shrunk?.status === 'minimal'
  const result = shrunk?.result ?? failing
  const command = replayCommand(job.scenario, job.seed, shrunk === undefined ? job.choices : result.choices)
  return {
    isReproduced: isReproduced && shrunk?.status !== 'not-reproduced',
    report: runReport(result, {
      replayCommand: command,
      shrunk: isOutOfTime && shrunk !== undefined ? { ...shrunk, status: 'budget' } : shrunk,
      colour: options.colour,
      columns: options.columns,
      storyLinesMax: options.storyLinesMax,
    }),
    command,
    from: failing.choices.length,
    to: result.choices.length,
    runs: shrunk?.runs ?? 1,
    diagram: spaceTimeDiagram(result, { title: `${job.scenario}, seed ${job.seed}`, replayCommand: command }),
    regression:
      result.violation === undefined
        ? ''
        : regressionFile({
            scenario: job.scenario,
            importFrom: '../pinned.ts',
            seed: job.seed,
            choices: result.choices,
            violation: { ...result.violation, message: withoutRoot(result.violation.message) },
            story: storyLines(result.trace, { columns: 106, linesMax: 40 }).map(({ text }) =>
              withoutRoot(text),
            ),
          }),
  }
}

/** Stacks name files of this machine; what is kept must not. */
function withoutRoot(text: string): string {
  // From test/dist/simulation.
  const root = new URL('../../..', import.meta.url)
  return text.replaceAll(root.href, '').replaceAll(fileURLToPath(root), '')
}

/** Resolves when it is on its way, so that a run that never comes back does not hold back what was said before it. */
function say(message: WorkerMessage): Promise<void> {
  return new Promise((resolve) => {
    if (process.send === undefined)
      throw new TypeError('simulation-worker.js is started by npm run sim, not by hand')
    process.send(message, () => resolve())
  })
}
