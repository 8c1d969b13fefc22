/** What the runner takes of the simulator to put a failed run into words. */
import { sourceModule } from '../../support/source-module.ts'

type Shrink = typeof import('../../../packages/runtime/src/simulation/shrink.ts')
type Report = typeof import('../../../packages/runtime/src/simulation/run-report.ts')
type Diagram = typeof import('../../../packages/runtime/src/simulation/space-time-diagram.ts')
type Regression = typeof import('../../../packages/runtime/src/simulation/regression-file.ts')
type Story = typeof import('../../../packages/runtime/src/simulation/story.ts')

export const { shrink } = await sourceModule<Shrink>('runtime', 'simulation/shrink')
export const { runReport } = await sourceModule<Report>('runtime', 'simulation/run-report')
export const { spaceTimeDiagram } = await sourceModule<Diagram>('runtime', 'simulation/space-time-diagram')
export const { regressionFile, regressionFileName } = await sourceModule<Regression>(
  'runtime',
  'simulation/regression-file',
)
export const { storyLines, timeText } = await sourceModule<Story>('runtime', 'simulation/story')
