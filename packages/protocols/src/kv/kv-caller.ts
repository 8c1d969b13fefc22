/** A client's way to the services of its store. */
import type { ActorRef, Random } from '@understudy/runtime'
import { ServiceCaller } from '../service/service-caller.ts'
import type { FinalReply } from '../service/service-reply.ts'
import type { CheckedKvClientOptions } from './kv-client-options.ts'
import type { KvResult } from './kv-command.ts'
import { KvError } from './kv-error.ts'
import {
  decodeKvReply,
  KvService,
  kvServicePath,
  type KvOwnReply,
  type KvServiceMessages,
} from './kv-protocol.ts'
import type { KvNode } from './kv-service.ts'

export type KvServiceRef = ActorRef<KvServiceMessages>
export type KvCaller = ServiceCaller<KvServiceRef, KvResult, KvOwnReply>
export type KvFinalReply = FinalReply<KvResult, KvOwnReply>

export function kvCaller(node: KvNode, options: CheckedKvClientOptions, random: Random): KvCaller {
  const dialect = {
    node: node.name,
    refTo: (server: string) => node.ref(KvService, server, kvServicePath(options.name)),
    decode: decodeKvReply,
    failures: {
      unavailable: (text: string, details: Readonly<Record<string, unknown>>) =>
        new KvError('KV_UNAVAILABLE', text, details),
      full: (text: string) => new KvError('KV_CLIENT_FULL', text),
      closed: kvClientClosed,
    },
  }
  return new ServiceCaller(dialect, options, node.system.platform.clock, random)
}

export function kvClientClosed(): KvError {
  return new KvError('KV_CLIENT_CLOSED', 'The client of the store was closed')
}
