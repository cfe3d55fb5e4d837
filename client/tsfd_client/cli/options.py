"""Command-line options, also read from the TOML file of ``--config``."""

from __future__ import annotations

import argparse
import math
import tomllib
from pathlib import Path
from typing import Any, Final

from tsfd_client.contract import MAX_BATCH
from tsfd_client.errors import TsfdError
from tsfd_client.export import FORMATS
from tsfd_client.remote.address import Place, place_of
from tsfd_client.remote.cache import GB, MOST, Cache

_LAST_PORT: Final = 65_535

Server = dict[str, Any]
"""Arguments of `Client` and `AsyncClient`."""


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line, which overrides the file of ``--config``.

    Raises
    ------
    TsfdError
        If the file is missing, not TOML, or has an invalid line.
    """
    parser, segment = _parsers()
    arguments = parser.parse_args(argv)
    if arguments.command != "segment":
        return arguments
    if arguments.config is not None:
        chosen = _read(arguments.config, segment)
        # These two exclude each other; the one on the command line overrides the other in the file.
        if arguments.tissue is not None:
            chosen.pop("no_tissue", None)
        elif arguments.no_tissue:
            chosen.pop("tissue", None)
            chosen.pop("tissue_class", None)
        elif chosen.get("no_tissue") and "tissue" in chosen:
            raise TsfdError(f"{arguments.config} has both tissue and no-tissue: remove one.")
        segment.set_defaults(**chosen)
        arguments = parser.parse_args(argv)
    if arguments.out is None:
        segment.error("the following arguments are required: --out")
    if not arguments.images and arguments.slides is None:
        segment.error("give images, or a table of slides with --slides")
    return arguments


def connection(arguments: argparse.Namespace) -> Server:
    """Connection arguments from the options, except `transport`, which is chosen later."""
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


def cache(arguments: argparse.Namespace) -> Cache:
    """Where slides of stores are kept."""
    return Cache(arguments.cache, arguments.cache_size * GB)


def _parsers() -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """Make the parser; return it and the subparser of ``segment``."""
    parser = argparse.ArgumentParser(prog="tsfd", description="Find and classify nuclei in H&E.")
    commands = parser.add_subparsers(dest="command", required=True)
    server, stored = (argparse.ArgumentParser(add_help=False) for _ in range(2))
    _add_server(server)
    _add_cache(stored)
    commands.add_parser("check", parents=[server], help="check that the server works")
    segment = commands.add_parser(
        "segment",
        parents=[server, stored],
        help="segment pictures and slides, or resume a stopped run",
    )
    _add_segment(segment)
    relabel = commands.add_parser(
        "relabel", parents=[server, stored], help="give your own classes to the nuclei of results"
    )
    _add_relabel(relabel)
    status = commands.add_parser("status", help="show the progress of the images in a folder")
    status.add_argument("folder", type=Path, metavar="DIR")
    export = commands.add_parser(
        "export", parents=[stored], help="write an image's nuclei in another format"
    )
    export.add_argument("folder", type=Path, metavar="DIR", help="folder of a finished result")
    export.add_argument("--to", required=True, choices=FORMATS, help="format")
    export.add_argument(
        "--out", type=Path, metavar="PATH", help="file or folder to write; default: in DIR"
    )
    view = commands.add_parser(
        "view", parents=[stored], help="show results in a browser on this machine"
    )
    view.add_argument("folder", type=Path, metavar="DIR", help="a result, or a folder of results")
    view.add_argument(
        "--port", type=_port, default=8780, help="default: %(default)s; 0 takes a free one"
    )
    compare = commands.add_parser("compare", help="compare two results of the same image")
    compare.add_argument("a", type=Path, metavar="A", help="folder of a result")
    compare.add_argument("b", type=Path, metavar="B", help="folder of another result")
    compare.add_argument(
        "--out", type=Path, metavar="DIR", help="write the nuclei that differ, for tsfd view"
    )
    adapt = commands.add_parser(
        "adapt", parents=[server, stored], help="learn classes of your own from marked nuclei"
    )
    adapt.add_argument(
        "results",
        nargs="+",
        type=Path,
        metavar="RESULT",
        help="a finished result with marks, or a folder of results",
    )
    adapt.add_argument(
        "--annotations",
        action="append",
        type=Path,
        metavar="FILE",
        help="more marks: GeoJSON of QuPath, or a table (slide, x, y, label); may be repeated",
    )
    adapt.add_argument(
        "--without",
        action="append",
        metavar="CLASS",
        help="class of the network that is dropped if it has no marks; may be repeated",
    )
    adapt.add_argument(
        "--out",
        type=Path,
        default=Path("my-classes.npz"),
        metavar="FILE",
        help="default: %(default)s; the report is written beside it",
    )
    measure = commands.add_parser(
        "measure",
        parents=[stored],
        help="measure shapes, stains and neighbours of the nuclei of results",
    )
    measure.add_argument(
        "results",
        nargs="+",
        type=Path,
        metavar="RESULT",
        help="a finished result, or a folder of results",
    )
    regions = commands.add_parser(
        "regions",
        help="count the nuclei in regions of results, drawn on the page or in QuPath",
        description="Count the nuclei in regions. Regions may overlap: each has all its nuclei.",
    )
    regions.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="RESULT | GEOJSON",
        help="finished results, or folders of them, and files of outlines; default: those drawn on "
        "the page",
    )
    return parser, segment


def _add_server(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("server")
    group.add_argument(
        "--server", default="localhost:8001", metavar="HOST:PORT", help="default: %(default)s"
    )
    group.add_argument("--ssl", action="store_true", help="connect with TLS")
    group.add_argument(
        "--root-certificates", type=Path, metavar="PEM", help="authority to trust, for TLS"
    )
    group.add_argument("--private-key", type=Path, metavar="PEM", help="for mutual TLS")
    group.add_argument("--certificate-chain", type=Path, metavar="PEM", help="for mutual TLS")
    group.add_argument(
        "--header",
        type=_header,
        action="append",
        metavar="NAME:VALUE",
        help="header sent with every request, for a proxy; may be repeated",
    )


def _add_cache(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("slides on stores (s3://, https://, ...)")
    group.add_argument(
        "--cache", type=Path, metavar="DIR", help="where they are kept; default: the user's cache"
    )
    group.add_argument(
        "--cache-size",
        type=_gigabytes,
        default=MOST / GB,
        metavar="GB",
        help="gigabytes that are kept, default: %(default)g; 0 keeps none that is not in use",
    )


def _add_relabel(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "results", nargs="+", type=Path, metavar="RESULT", help="folder of a finished result"
    )
    parser.add_argument(
        "--classes", type=Path, required=True, metavar="NPZ", help="file of tsfd adapt"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write DIR/<name>; default: beside RESULT, as <name>-<classes>-<six digits>",
    )


def _add_segment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "images",
        nargs="*",
        type=_image,
        metavar="IMAGE",
        help="picture, slide, folder of images, or address of a slide, such as s3://bucket/a.svs",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="results go to DIR/<name>")
    parser.add_argument("--mpp", type=float, help="micrometres per pixel of the images")
    parser.add_argument(
        "--config", type=Path, metavar="TOML", help="file that sets any of these options"
    )
    parser.add_argument(
        "--keep-features",
        action="store_true",
        help="keep the network's features of every nucleus, for tsfd relabel and tsfd export",
    )
    parser.add_argument(
        "--measure",
        action="store_true",
        help="measure shapes, stains and neighbours of every nucleus, as tsfd measure does",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--tissue",
        type=Path,
        metavar="GEOJSON",
        help="polygons to segment; default: detect tissue, but segment small pictures whole",
    )
    where.add_argument(
        "--no-tissue", action="store_true", help="segment everything, including glass"
    )
    parser.add_argument(
        "--tissue-class",
        metavar="NAME",
        help="class of the polygons to segment; default: all except those that QuPath ignores",
    )

    parser.add_argument(
        "--with-pen",
        action="store_true",
        help="segment what pen covers, too; default: leave it out where tissue is detected",
    )

    parser.add_argument(
        "--without-blur",
        action="store_true",
        help="leave out what is out of focus; default: segment it, and say its area",
    )

    many = parser.add_argument_group("many images")
    many.add_argument(
        "--slides",
        type=Path,
        metavar="CSV",
        help="table with the column slide and, where needed, mpp, tissue, tissue_class, name",
    )
    many.add_argument(
        "--shard", type=_shard, metavar="I/N", help="only every N-th image, starting with the I-th"
    )
    many.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="scheduler of a Dask cluster: tcp://host:port, or its scheduler file",
    )

    requests = parser.add_argument_group("requests")
    requests.add_argument(
        "--transport",
        choices=("auto", "grpc", "shm"),
        default="auto",
        help="shm: memory shared with a server on this machine; default: auto, shm if it works",
    )
    requests.add_argument(
        "--batch",
        type=_batch,
        default=4,
        metavar="TILES",
        help="tiles per request; default: %(default)s",
    )
    requests.add_argument(
        "--in-flight",
        type=_count,
        metavar="N",
        help="limit of requests in flight, default: 32; fewer are used if the server is slow",
    )
    requests.add_argument(
        "--timeout",
        type=_seconds,
        default=60.0,
        metavar="S",
        help="seconds per request; default: %(default)g",
    )
    requests.add_argument(
        "--wait",
        type=_wait,
        metavar="S",
        help="seconds to keep trying if the server is lost or overloaded, default: 300; if given, "
        "also to wait for the server at the start",
    )

    thresholds = parser.add_argument_group("thresholds (default: the server's)")
    thresholds.add_argument("--foreground-threshold", type=float, metavar="P")
    thresholds.add_argument("--boundary-threshold", type=float, metavar="P")
    thresholds.add_argument("--min-area", type=int, metavar="PIXELS")
    thresholds.add_argument("--min-confidence", type=float, metavar="P")


def _read(path: Path, parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Read the options of a file, by their names in the parser."""
    try:
        lines = tomllib.loads(path.read_text(encoding="utf-8-sig"))
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
                f"{path} has the unknown option {name!r}; known are {', '.join(sorted(known))}."
            )
        chosen[known[name].dest] = _value(path, name, value, known[name])
    return chosen


def _value(path: Path, name: str, value: Any, action: argparse.Action) -> Any:
    """Convert a value of the file as the command line would."""
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
        raise argparse.ArgumentTypeError(f"must be NAME:VALUE, not {text!r}")
    return name.strip().lower(), value.strip()


def _image(text: str) -> Place:
    if not text:  # a shell's variable that is not set, not the current folder
        raise argparse.ArgumentTypeError("an empty name is no image")
    return place_of(text)


def _shard(text: str) -> tuple[int, int]:
    first, slash, count = text.partition("/")
    if not (slash and first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise argparse.ArgumentTypeError(f"must be I/N with 1 <= I <= N, not {text!r}")
    return int(first), int(count)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    if not 0 < _number(text) < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, not {text!r}")
    return float(text)


def _wait(text: str) -> float:
    if not 0 <= _number(text) < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of seconds of at least 0, not {text!r}")
    return float(text)


def _gigabytes(text: str) -> float:
    if not 0 <= _number(text) < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of at least 0, not {text!r}")
    return float(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > _LAST_PORT:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to {_LAST_PORT}, not {text!r}")
    return int(text)


def _batch(text: str) -> int:
    if _count(text) > MAX_BATCH:
        raise argparse.ArgumentTypeError(f"must be at most {MAX_BATCH} tiles, not {text}")
    return int(text)


def _path(path: Path | None) -> str | None:
    return None if path is None else str(path)
