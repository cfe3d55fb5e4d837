"""The connection to a Triton server.

client, async_client                        `Client`, `AsyncClient`
connection, protocol                        what both share: where the server is, what is said
shared_memory, async_shared_memory          tiles and maps through shared memory
retry                                       which failures are worth another try
"""
