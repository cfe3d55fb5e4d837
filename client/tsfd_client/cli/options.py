"""What may be said on the command line, or in the TOML file that --config names."""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path
from typing import Any, Final

from tsfd_client.contract import MAX_BATCH
from tsfd_client.errors import TsfdError
from tsfd_client.export import FORMATS

_LAST_PORT: Final = 65_535

Server = dict[str, Any]
"""Arguments of `Client` and `AsyncClient`."""


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line; it says more than the file that it may name.

    Raises
    ------
    TsfdError
        If the file is missing, not TOML, or says what cannot be said.
    """
    parser, segment = _parsers()
    arguments = parser.parse_args(argv)
    if arguments.command != "segment":
        return arguments
    if arguments.config is not None:
        chosen = _read(arguments.config, segment)
        # Of the two, which exclude each other, the command line may say the other one.
        if arguments.tissue is not None:
            chosen.pop("no_tissue", None)
        elif arguments.no_tissue:
            chosen.pop("tissue", None)
        elif chosen.get("no_tissue") and "tissue" in chosen:
            raise TsfdError(f"{arguments.config} has both tissue and no-tissue: leave one out.")
        segment.set_defaults(**chosen)
        arguments = parser.parse_args(argv)
    if arguments.out is None:
        segment.error("the following arguments are required: --out")
    if not arguments.images and arguments.slides is None:
        segment.error("name images, or a table of slides with --slides")
    return arguments


def connection(arguments: argparse.Namespace) -> Server:
    """The connection that the options describe; its `transport` is still to be chosen."""
    chosen = {
        "url": arguments.server,
        "ssl": arguments.ssl,
        "root_certificates": _path(arguments.root_certificates),
        "private_key": _path(arguments.private_key),
        "certificate_chain": _path(arguments.certificate_chain),
        "headers": dict(arguments.header) if arguments.header else None,
    }
    if arguments.command == "segment":
        chosen |= {"timeout": arguments.timeout, "batch_size": arguments.batch}
    return chosen


def _parsers() -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """The parser, and that of ``segment``."""
    parser = argparse.ArgumentParser(prog="tsfd", description="Find and classify nuclei in H&E.")
    commands = parser.add_subparsers(dest="command", required=True)
    server = argparse.ArgumentParser(add_help=False)
    _add_server(server)
    commands.add_parser("check", parents=[server], help="does the server work? Sends it a patch.")
    segment = commands.add_parser(
        "segment", parents=[server], help="segment pictures and slides; goes on with those begun"
    )
    _add_segment(segment)
    status = commands.add_parser("status", help="how far the images in a folder are")
    status.add_argument("folder", type=Path, metavar="DIR")
    export = commands.add_parser("export", help="write an image's nuclei in another format")
    export.add_argument("folder", type=Path, metavar="DIR", help="of an image that is done")
    export.add_argument("--to", required=True, choices=FORMATS, help="format")
    export.add_argument("--out", type=Path, metavar="PATH", help="default: in DIR")
    view = commands.add_parser("view", help="look at results in a browser on this machine")
    view.add_argument("folder", type=Path, metavar="DIR", help="a result, or a folder of results")
    view.add_argument(
        "--port", type=_port, default=8780, help="default: %(default)s; 0: a free one"
    )
    compare = commands.add_parser("compare", help="what differs between two results of one image")
    compare.add_argument("a", type=Path, metavar="A", help="a result")
    compare.add_argument("b", type=Path, metavar="B", help="another one")
    compare.add_argument(
        "--out", type=Path, metavar="DIR", help="write the nuclei that differ, for tsfd view"
    )
    return parser, segment


def _add_server(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("server")
    group.add_argument(
        "--server", default="localhost:8001", metavar="HOST:PORT", help="default: %(default)s"
    )
    group.add_argument("--ssl", action="store_true", help="connect with TLS")
    group.add_argument("--root-certificates", type=Path, metavar="PEM", help="for TLS")
    group.add_argument("--private-key", type=Path, metavar="PEM", help="for mutual TLS")
    group.add_argument("--certificate-chain", type=Path, metavar="PEM", help="for mutual TLS")
    group.add_argument(
        "--header",
        type=_header,
        action="append",
        metavar="NAME:VALUE",
        help="sent with every request, for a proxy; may be repeated",
    )


def _add_segment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "images", nargs="*", type=Path, metavar="IMAGE", help="picture, slide, or folder of them"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="results go to DIR/<name>")
    parser.add_argument("--mpp", type=float, help="micrometres per pixel of the images")
    parser.add_argument(
        "--config", type=Path, metavar="TOML", help="file with any of these options"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--tissue",
        type=Path,
        metavar="GEOJSON",
        help="polygons to segment; else tissue is found, but small pictures are taken whole",
    )
    where.add_argument("--no-tissue", action="store_true", help="segment everything, glass too")

    many = parser.add_argument_group("many images")
    many.add_argument(
        "--slides", type=Path, metavar="CSV", help="table with the columns slide, mpp and tissue"
    )
    many.add_argument(
        "--shard", type=_shard, metavar="I/N", help="only every N-th image from the I-th on"
    )
    many.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="of a Dask cluster: tcp://host:port, or its file",
    )

    requests = parser.add_argument_group("requests")
    requests.add_argument(
        "--transport",
        choices=("auto", "grpc", "shm"),
        default="auto",
        help="shm is memory shared with a server on this machine; auto takes it where it works",
    )
    requests.add_argument(
        "--batch", type=_batch, default=4, metavar="TILES", help="per request, default %(default)s"
    )
    requests.add_argument(
        "--in-flight",
        type=_count,
        metavar="N",
        help="most requests under way, default 32: as many as are answered quickly",
    )
    requests.add_argument(
        "--timeout", type=float, default=60.0, metavar="S", help="of a request, default %(default)g"
    )
    requests.add_argument(
        "--wait",
        type=float,
        metavar="S",
        help="for a server that is gone or overloaded, default 300; where it is given, also for "
        "one that is not there at the start",
    )

    thresholds = parser.add_argument_group("thresholds, by default the server's")
    thresholds.add_argument("--foreground-threshold", type=float, metavar="P")
    thresholds.add_argument("--boundary-threshold", type=float, metavar="P")
    thresholds.add_argument("--min-area", type=int, metavar="PIXELS")
    thresholds.add_argument("--min-confidence", type=float, metavar="P")


def _read(path: Path, parser: argparse.ArgumentParser) -> dict[str, Any]:
    """The options of a file, by their names in the parser."""
    try:
        lines = tomllib.loads(path.read_text())
    except OSError as error:
        raise TsfdError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise TsfdError(f"{path} is not TOML: {error}.") from error
    known = {a.option_strings[-1][2:]: a for a in parser._actions if a.option_strings}
    for name in ("help", "config"):
        del known[name]
    chosen = {}
    for name, value in lines.items():
        if name not in known:
            raise TsfdError(
                f"{path} has the unknown line {name!r}; known are {', '.join(sorted(known))}."
            )
        chosen[known[name].dest] = _value(path, name, value, known[name])
    return chosen


def _value(path: Path, name: str, value: Any, action: argparse.Action) -> Any:
    """A value of the file as the command line would give it."""
    if action.nargs == 0:  # a switch
        if not isinstance(value, bool):
            raise TsfdError(f"{path}: {name} must be true or false, not {value!r}.")
        return value
    if isinstance(action, argparse._AppendAction):
        values = value if isinstance(value, list) else [value]
        return [_convert(path, name, each, action) for each in values]
    return _convert(path, name, value, action)


def _convert(path: Path, name: str, value: Any, action: argparse.Action) -> Any:
    if isinstance(value, (list, dict, bool)):
        raise TsfdError(f"{path}: {name} cannot be {value!r}.")
    try:
        converted = action.type(str(value)) if callable(action.type) else str(value)
    except (ValueError, argparse.ArgumentTypeError) as error:
        raise TsfdError(f"{path}: {name} cannot be {value!r}.") from error
    if action.choices is not None and converted not in action.choices:
        raise TsfdError(
            f"{path}: {name} must be one of {', '.join(action.choices)}, not {value!r}."
        )
    return converted


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f"a header is NAME:VALUE, not {text!r}")
    return name.strip().lower(), value.strip()


def _shard(text: str) -> tuple[int, int]:
    first, slash, count = text.partition("/")
    if not (slash and first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise argparse.ArgumentTypeError(f"a shard is I/N with 1 <= I <= N, not {text!r}")
    return int(first), int(count)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a number from 1 on is needed, not {text!r}")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > _LAST_PORT:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to {_LAST_PORT}, not {text!r}")
    return int(text)


def _batch(text: str) -> int:
    if _count(text) > MAX_BATCH:
        raise argparse.ArgumentTypeError(f"at most {MAX_BATCH} tiles, not {text}")
    return int(text)


def _path(path: Path | None) -> str | None:
    return None if path is None else str(path)
