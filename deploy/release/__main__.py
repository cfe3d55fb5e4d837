"""Make, sign, move and fetch releases.

make         write the archive of the served models
sign         write the signature next to an archive
push         upload to an OCI registry; prints the name to fetch it by
fetch        download from a registry, check, and unpack into a folder
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from deploy.release import archive

ROOT = Path(__file__).resolve().parents[2]


def _make(arguments: argparse.Namespace) -> str:
    files = archive.contents(ROOT)
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / f"{json.loads(files[archive.MANIFEST])['release']}.tar"
    archive.write(files, path)
    return str(path)


# `make` needs only Python; the other commands need deploy/release/requirements.txt.
def _sign(arguments: argparse.Namespace) -> str:
    from deploy.release.signature import sign

    return str(sign(arguments.archive, arguments.key))


def _push(arguments: argparse.Namespace) -> str:
    from deploy.release.registry import push

    return push(arguments.archive, arguments.name)


def _fetch(arguments: argparse.Namespace) -> str:
    from deploy.release.fetch import fetch

    new = fetch(arguments.reference, arguments.to, arguments.key)
    return f"{arguments.to} {'is' if new else 'was already'} {arguments.reference}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.release",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True)

    def command(name: str, run) -> argparse.ArgumentParser:
        added = commands.add_parser(name)
        added.set_defaults(run=run)
        return added

    make = command("make", _make)
    make.add_argument("--out", type=Path, required=True, help="folder for the archive")
    sign = command("sign", _sign)
    sign.add_argument("archive", type=Path)
    sign.add_argument("--key", type=Path, required=True, help="private key, PEM")
    push = command("push", _push)
    push.add_argument("archive", type=Path, help="with its signature beside it")
    push.add_argument("name", help="REGISTRY/NAME:TAG")
    fetch = command("fetch", _fetch)
    fetch.add_argument("reference", help="REGISTRY/NAME@sha256:...")
    fetch.add_argument("--to", type=Path, required=True, metavar="DIR", help="folder to create")
    fetch.add_argument("--key", type=Path, required=True, help="public key, PEM")
    return parser


def main() -> int:
    """Run the command line; return the exit code."""
    arguments = _parser().parse_args()
    try:
        print(arguments.run(arguments))
    except (archive.ReleaseError, OSError) as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(f"release: {error}: pip install -r deploy/release/requirements.txt", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
