"""`python -m deploy.release make --out build/release`: the archive of what is served."""

import argparse
import json
import sys
from pathlib import Path

from deploy.release import archive

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.release", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make", help="write the archive of what is served")
    make.add_argument("--out", type=Path, required=True, help="folder for the archive")
    out = parser.parse_args().out
    try:
        files = archive.contents(ROOT)
        out.mkdir(parents=True, exist_ok=True)
        path = out / f"{json.loads(files['manifest.json'])['release']}.tar"
        archive.write(files, path)
    except OSError as error:
        sys.exit(str(error))
    print(path)


if __name__ == "__main__":
    main()
