"""The connection to a Triton server.

client, async_client      `Client`, `AsyncClient`
connection                what both share: address, options and arguments of the calls
address                   hosts, the local machine, and proxies
protocol                  encoding of requests and answers, and checks of the contract
shared_memory, regions    shared memory for a server on the same machine, and its reuse
retry                     which failures to retry, and how to explain the others
"""
