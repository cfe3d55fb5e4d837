"""Command line: ``tsfd segment IMAGE... --out DIR`` and ``tsfd check``."""

from __future__ import annotations

import argparse
import logging
import sys
from importlib.metadata import version
from pathlib import Path

from tqdm import tqdm

from tsfd_client.client import Client
from tsfd_client.contract import MPP, VERSION
from tsfd_client.errors import OutputError, ServerUnavailableError, TsfdError
from tsfd_client.image import read_image
from tsfd_client.plausibility import scale_warning
from tsfd_client.save import save
from tsfd_client.settings import Settings


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = _parser().parse_args(argv)
    # Of a damaged file one line is printed, ours.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    try:
        with Client(arguments.server, ssl=arguments.ssl) as client:
            served = client.check()
            if arguments.command == "check":
                print(
                    f"The server at {arguments.server} is ready: release {served.release}, "
                    f"contract {VERSION}, Triton {served.triton}; "
                    f"this is tsfd-client {version('tsfd-client')}."
                )
                return 0
            return _segment(client, arguments)
    except TsfdError as error:
        print(f"tsfd: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("tsfd: stopped; what was written before is complete.", file=sys.stderr)
        return 130


def _segment(client: Client, arguments: argparse.Namespace) -> int:
    settings = Settings(
        foreground_threshold=arguments.foreground_threshold,
        boundary_threshold=arguments.boundary_threshold,
        min_area=arguments.min_area,
        min_confidence=arguments.min_confidence,
        method=arguments.method,
    )
    folders: dict[Path, Path] = {}
    for path in arguments.images:
        folder = arguments.out / path.stem
        if folder in folders:
            raise TsfdError(
                f"{folders[folder]} and {path} would both be written to {folder}: give them "
                "different --out folders."
            )
        folders[folder] = path
    done = failed = 0
    for folder, path in folders.items():
        if arguments.skip_existing and (folder / "overlay.png").is_file():  # written last
            done += 1
            continue
        try:
            _segment_one(client, path, folder, arguments, settings)
            done += 1
        except TsfdError as error:
            if len(folders) == 1:
                raise
            print(f"tsfd: {error}", file=sys.stderr)
            if isinstance(error, (ServerUnavailableError, OutputError)):
                # The other images would fare no better.
                print(
                    f"tsfd: stopped, {done} of {len(folders)} images are done: the same command "
                    "with --skip-existing does the rest.",
                    file=sys.stderr,
                )
                return 1
            failed += 1
    if failed:
        print(f"tsfd: {failed} of {len(folders)} images failed.", file=sys.stderr)
    return 1 if failed else 0


def _segment_one(
    client: Client, path: Path, folder: Path, arguments: argparse.Namespace, settings: Settings
) -> None:
    image, mpp = read_image(path, mpp=arguments.mpp)
    if mpp is None:
        print(
            f"tsfd: {path} does not say its scale; {MPP} µm per pixel (40x) is assumed. "
            "Give another with --mpp.",
            file=sys.stderr,
        )
        mpp = MPP
    with tqdm(desc=path.name, unit="tile", disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        nuclei = client.segment(image, mpp=mpp, settings=settings, progress=progress)
    if warning := scale_warning(nuclei):
        print(f"tsfd: {path}: {warning} Give the scale with --mpp.", file=sys.stderr)
    save(nuclei, image, folder, parquet=arguments.parquet)
    counts = ", ".join(f"{n} {name}" for name, n in nuclei.counts().items() if n) or "none"
    print(f"{path}: {len(nuclei)} nuclei ({counts}) in {folder}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tsfd", description="Find and classify nuclei in H&E.")
    server = argparse.ArgumentParser(add_help=False)
    server.add_argument(
        "--server", default="localhost:8001", metavar="HOST:PORT", help="default: %(default)s"
    )
    server.add_argument("--ssl", action="store_true", help="connect with TLS")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", parents=[server], help="does the server work? Sends it a patch.")
    segment = commands.add_parser("segment", parents=[server], help="segment images")
    segment.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    segment.add_argument("--out", type=Path, required=True, metavar="DIR")
    segment.add_argument("--mpp", type=float, help="micrometres per pixel of the images")
    segment.add_argument(
        "--skip-existing", action="store_true", help="leave out images whose results are there"
    )
    segment.add_argument("--parquet", action="store_true", help="write the table as Parquet")
    segment.add_argument("--foreground-threshold", type=float, metavar="P")
    segment.add_argument("--boundary-threshold", type=float, metavar="P")
    segment.add_argument("--min-area", type=int, metavar="PIXELS")
    segment.add_argument("--min-confidence", type=float, metavar="P")
    segment.add_argument("--method", choices=("watershed", "reference"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
