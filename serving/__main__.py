"""Serve the model repository with this machine's Triton server: ``python -m serving``.

Prints one line that begins with READY and lists the addresses, then watches the server until Ctrl-C
or SIGTERM and restarts it if it no longer answers. The exit code is 0 after Ctrl-C or SIGTERM, and
1 with one line on stderr if the server cannot start or does not come back. The embedded server
refuses addresses that other machines can reach: use ``deploy/gateway`` for those.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
import sys
from pathlib import Path
from typing import Final

from conversion import nvidia
from serving import installation
from serving.environment import ROOT
from serving.first_start import fitted, prove
from serving.health import HealthEndpoint
from serving.server import BUCKET, ServerError, TritonServer, is_loopback
from serving.supervisor import Supervisor

_VULNERABLE: Final = (
    "Other machines would reach {host}, and Triton 2.51 lacks the fixes of 57 published "
    "vulnerabilities, among them the takeover of the server (CVE-2025-23319, 23320, 23334): stay "
    "on 127.0.0.1 behind deploy/gateway, or add --despite-known-vulnerabilities."
)
_NOT_FROM_BUCKET: Final = (
    "--engines needs a repository in a folder: copy the bucket to one (aws s3 sync), or omit "
    "--engines and serve the plan in the bucket."
)
_READABLE: Final = (
    "Other users of this machine can read the tiles being processed, because Triton's backends "
    "leave them readable in /dev/shm: serve patients' slides on a machine of your own or in a "
    "container."
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m serving",
        description="Serve the model repository with the Triton server of NVIDIA's container or, "
        "outside of it, with the embedded one on the CPU.",
    )
    parser.add_argument(
        "--repository",
        default=str(ROOT / "model_repository"),
        help="a folder, or s3://bucket/path (s3://http://host:port/bucket/path)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    for name, port in (("grpc", 8001), ("http", 8000), ("metrics", 8002), ("health", 8003)):
        parser.add_argument(
            f"--{name}-port", type=int, default=port, help=f"default {port}; 0 takes a free one"
        )
    parser.add_argument(
        "--engines",
        type=Path,
        metavar="DIR",
        help="cache of engines; one is built if the repository's own does not fit the GPU",
    )
    parser.add_argument(
        "--rehearse",
        action="store_true",
        help="with --engines on a machine without a GPU: use OpenVINO in place of TensorRT",
    )
    parser.add_argument(
        "--traces",
        metavar="URL",
        help="OpenTelemetry collector for the spans of every request: http://host:4318/v1/traces",
    )
    parser.add_argument(
        "--despite-known-vulnerabilities",
        action="store_true",
        help="let other machines reach the embedded server",
    )
    options = vars(parser.parse_args(arguments))
    health_port = options.pop("health_port")
    insisted = options.pop("despite_known_vulnerabilities")
    engines, rehearse = options.pop("engines"), options.pop("rehearse")

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    # SIGTERM acts like Ctrl-C; SIGINT is set as well, because a shell's background jobs ignore it.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.default_int_handler)
    try:
        with contextlib.ExitStack() as stack:
            found = installation.find()
            if found and found.is_embedded:
                if not is_loopback(options["host"]) and not insisted:
                    raise ServerError(_VULNERABLE.format(host=options["host"]))
                if nvidia.obstacle() is None:
                    logging.warning(
                        "The embedded server does not use the GPU: see deploy/README.md"
                    )
            ensures = found and engines and (found.has_gpu or rehearse)
            if ensures:
                if options["repository"].startswith(BUCKET):
                    raise ServerError(_NOT_FROM_BUCKET)
                repository = fitted(Path(options["repository"]), engines, found, rehearse=rehearse)
                options["repository"] = stack.enter_context(repository)
            supervisor = Supervisor(TritonServer(**options))
            server = supervisor.server
            endpoint = stack.enter_context(HealthEndpoint(server.host, health_port, supervisor))
            stack.enter_context(server)
            if ensures:
                prove(server.repository, server.http_url, found)
            if found.is_embedded:  # a container has a /dev/shm of its own
                logging.warning(_READABLE)
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
