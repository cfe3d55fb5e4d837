"""``tsfd view``, which serves a page with results on this machine, and ``tsfd compare``."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

from tsfd_client.errors import TsfdError
from tsfd_client.names import shown


def view(folder: Path, port: int) -> int:
    """Serve the page until Ctrl-C; return the exit code.

    Raises
    ------
    TsfdError
        If there is no such folder, the port is taken, or packages are missing.
    """
    try:
        import uvicorn

        from tsfd_client.view.app import application
        from tsfd_client.view.results import Results
    except ImportError as error:
        raise _missing(error) from error
    results = Results(folder)
    number = len(results.find())
    if not number:
        raise TsfdError(f"There are no results in {folder}: `tsfd segment` writes them.")
    token = secrets.token_urlsafe(16)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", port))
            listening.listen()
        except OSError as error:
            raise TsfdError(f"Cannot listen on port {port}: {error.strerror}.") from error
        port = listening.getsockname()[1]
        hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}
        config = uvicorn.Config(
            application(results, token, hosts), log_level="error", lifespan="off"
        )
        known = f"{number} result{'s' if number != 1 else ''}"
        print(f"{known} at http://127.0.0.1:{port}/?token={token}", flush=True)
        uvicorn.Server(config).run([listening])
    results.close()
    return 0


def compare(a: Path, b: Path, out: Path | None) -> int:
    """Print how two results of one image differ; return the exit code.

    Raises
    ------
    TsfdError
        If they cannot be compared, `out` cannot be written, or packages are missing.
    """
    try:
        from tsfd_client.view.compare import compare, write
        from tsfd_client.view.results import Result, find
    except ImportError as error:
        raise _missing(error) from error

    def one(folder: Path) -> Result:
        found = find(folder)
        if [result.folder for result in found] != [folder.resolve()]:
            raise TsfdError(f"{folder} is not the folder of a result.")
        return found[0]

    comparison = compare(one(a), one(b))
    print(comparison.text())
    if out:
        write(comparison, out)
        print(f"To see the nuclei that differ: tsfd view {shown(out)}")
    return 0


def _missing(error: ImportError) -> TsfdError:
    return TsfdError(f"This needs {error.name}: pip install 'tsfd-client[slides,view]'.")
