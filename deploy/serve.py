"""Serve the model repository with the embedded Triton server: ``python -m deploy.serve``.

Prints one line that begins with READY and names the addresses, then watches the server until Ctrl-C
or SIGTERM, and restarts it where it no longer answers. Exit code 0 after those, 1 with one line on
stderr if the server cannot start or does not come back.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from pathlib import Path

from deploy.health import HealthEndpoint
from deploy.server import ServerError, TritonServer
from deploy.setup import ROOT
from deploy.supervisor import Supervisor


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.serve",
        description="Serve the model repository on the CPU with the embedded Triton server.",
    )
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    for name, port in (("grpc", 8001), ("http", 8000), ("metrics", 8002), ("health", 8003)):
        parser.add_argument(
            f"--{name}-port", type=int, default=port, help=f"default {port}; 0 takes a free one"
        )
    options = vars(parser.parse_args(arguments))
    health_port = options.pop("health_port")

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    # SIGTERM stops like Ctrl-C, which a shell's background jobs would ignore.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.default_int_handler)
    if Path("/dev/nvidia0").exists():
        logging.warning("The embedded server does not use this machine's GPU: see deploy/README.md")
    try:
        supervisor = Supervisor(TritonServer(**options))
        server = supervisor.server
        with HealthEndpoint(server.host, health_port, supervisor) as endpoint, server:
            print(
                f"READY gRPC {server.grpc_url} HTTP {server.http_url} "
                f"metrics {server.metrics_url} health {endpoint.url}/health",
                flush=True,
            )
            try:
                supervisor.watch()
            except KeyboardInterrupt:
                supervisor.drain()
    except KeyboardInterrupt:
        return 0
    except ServerError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
