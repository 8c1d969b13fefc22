/** A node with the lock service, in a process of its own. */
import { openLocks } from '@understudy/protocols'
import { serveOwnMember } from '../harness/own-member.ts'

serveOwnMember((node, name, openGroup) => openLocks(node, { name, openGroup }))
