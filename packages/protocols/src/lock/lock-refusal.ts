/** What the lock table refuses, in words. The same on every member. */
import type { LockRefusal, WaitEdge } from './lock-command.ts'

export function badRequest(problem: string): LockRefusal {
  return { code: 'LOCK_BAD_REQUEST', message: `Cannot carry out the request: ${problem}` }
}

/** `limit`: its name in `lockLimits`. */
export function overLimit(limit: string, most: number): LockRefusal {
  return {
    code: 'LOCK_LIMIT',
    message: `Cannot carry out the request: it is beyond the limit ${limit}, which is ${most}`,
  }
}

export function sessionLost(session: number): LockRefusal {
  return {
    code: 'LOCK_SESSION_LOST',
    message: `There is no session ${session}: its time was over, or it was ended; open another and take its locks anew`,
  }
}

export function notHeld(what: string): LockRefusal {
  return { code: 'LOCK_NOT_HELD', message: `${what} is not held: it was lost, or released before` }
}

export function wrongKind(name: string, there: string, asked: string): LockRefusal {
  return {
    code: 'LOCK_WRONG_KIND',
    message: `"${name}" is a ${there}, and was used as a ${asked}: take another name`,
  }
}

export function givenUp(request: number): LockRefusal {
  return badRequest(`request ${request} was given up before it came`)
}

export function upgrade(name: string): LockRefusal {
  return {
    code: 'LOCK_UPGRADE',
    message:
      `The owner reads "${name}" and cannot write it too: two that did so would wait for each other for ever; ` +
      'release it first, or take it for writing from the beginning',
  }
}

export function deadlock(cycle: readonly WaitEdge[]): LockRefusal {
  const steps = cycle.map(
    ({ session, owner, name }) => `"${owner}" of session ${session} waits for "${name}"`,
  )
  return {
    code: 'LOCK_DEADLOCK',
    message: `It would wait for itself: ${steps.join(', ')}, which the first of these has; release that, and try again`,
    cycle,
  }
}
