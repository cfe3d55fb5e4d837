"""Summarise training data and name every problem in it before training starts.

    python -m training.check PanNuke            # a folder with PanNuke's folds
    python -m training.check data more/data     # folders with a manifest.json

Prints a table with one column per split or fold, and each problem as a line on stderr. The exit
code is 1 if there are problems. PanNuke is read patch by patch.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from training.data.check import Tally, check_manifest, check_pannuke
from training.data.manifest import MANIFEST
from training.table import Table, show


def table(title: str, tallies: dict[str, Tally]) -> Table:
    """The tallies side by side, one column each."""
    columns = list(tallies.values())
    groups = (f"{len(tally.groups):,}" if tally.groups else "not given" for tally in columns)
    rows: list[tuple[str, ...]] = [("groups", *groups)]
    for name, attribute in (
        ("images", "images"),
        ("nuclei", "nuclei"),
        ("images by tissue", "tissues"),
        ("images by mpp", "scales"),
    ):
        counters = [getattr(tally, attribute) for tally in columns]
        rows.append((name, *(f"{counter.total():,}" for counter in counters)))
        for key in sorted(set().union(*counters)):
            rows.append((f"  {key}", *(f"{counter[key]:,}" for counter in counters)))
    for name, key in (("partial images", "partial"), ("images with ignored pixels", "ignore")):
        counts = [tally.left_out[key] for tally in columns]
        if any(counts):
            rows.append((name, *(f"{count:,}" for count in counts)))
    return Table(title, ("", *tallies), tuple(rows))


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="folder with a manifest.json or with PanNuke's folds",
    )
    broken = 0
    for folder in parser.parse_args(argv).folders:
        check = check_manifest if (folder / MANIFEST).is_file() else check_pannuke
        tallies, problems = check(folder)
        if tallies:
            show([table(str(folder), tallies)])
        else:
            print(folder)
        print(f"{len(problems) or 'no'} problem{'s' if len(problems) != 1 else ''}\n", flush=True)
        for problem in problems:
            print(problem, file=sys.stderr)
        broken += len(problems)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
