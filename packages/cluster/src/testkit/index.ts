export { contractAddresses, discoveryContract, type DiscoveryBench } from './discovery-contract.ts'
export { memoryDowningLease, type MemoryDowningLease } from './downing-lease-double.ts'
export { transportContract } from './transport-contract.ts'
export type {
  ContractTest,
  DeclareTest,
  MakeTransport,
  TransportContractOptions,
} from './transport-contract.ts'
