/** A node with key-value stores, in a process of its own. */
import { openKv } from '@understudy/protocols'
import { serveOwnMember } from '../harness/own-member.ts'

serveOwnMember((node, name, openGroup) => openKv(node, { name, openGroup }))
