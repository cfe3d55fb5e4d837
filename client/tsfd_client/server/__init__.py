"""The connection to a Triton server.

client, async_client      `Client`, `AsyncClient`
connection                what both share: where the server is and how it is asked
protocol                  what is said, in messages of gRPC or through a carrier beside them
shared_memory, regions    that carrier on the server's own machine, and who has it when
retry                     which failures are worth another try
"""
