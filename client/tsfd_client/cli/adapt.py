"""``tsfd adapt``: learn classes of one's own from marks."""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tsfd_client.cli import options
from tsfd_client.cli.results import finished
from tsfd_client.errors import OutputError, TsfdError
from tsfd_client.names import shown

if TYPE_CHECKING:
    from tsfd_client.classes.adapt import Taken

_TOLD: Final = 20  # marks of a file that are named
_MISSED: Final = 1 / 3  # of the marks: more are no accident
_HELD: Final = 1 / 10  # of a class's marks: fewer are the network's slips


def adapt(arguments: argparse.Namespace) -> int:
    """Learn classes from the marks on results; return the exit code, 1 if nothing was gained."""
    try:
        import scipy  # noqa: F401
    except ImportError as error:
        raise TsfdError(
            "Learning classes needs scipy: pip install 'tsfd-client[classes]'."
        ) from error
    from tsfd_client.classes.adapt import Taken
    from tsfd_client.classes.adapt import adapt as learn
    from tsfd_client.classes.head import save
    from tsfd_client.classes.report import text, write_html
    from tsfd_client.server.client import Client

    page = _checked(arguments.out)
    results, taken = finished(arguments.results), Taken()
    try:
        with Client(**options.connection(arguments)) as client:
            lesson = learn(
                *(results, arguments.annotations or [], client, taken),
                without=arguments.without or [],
            )
    finally:
        _say_what_is_wrong(taken)
    _say_what_was_taken(taken)
    print(text(lesson))
    write_html(lesson, page)
    if lesson.head is None:
        print(f"Wrote {shown(page)}, and no classes.")
        return 1
    save(lesson.head, arguments.out)
    print(
        f"Wrote {shown(arguments.out)} and {shown(page)}. Serve it with `make convert "
        f"WEIGHTS={shown(arguments.out)}`, or apply it with `tsfd relabel RESULT --classes "
        f"{shown(arguments.out)}`."
    )
    return 0


def _checked(out: Path) -> Path:
    """The report that belongs to a file of classes; OutputError if either would be lost or fail."""
    from tsfd_client.classes.head import is_own_classes
    from tsfd_client.classes.report import is_report

    if out.is_dir():
        raise OutputError(f"{out} is a folder: give --out the name of a file, as {out}/my.npz.")
    if out.suffix != ".npz":
        raise OutputError(f"--out is {out}, and must end in .npz.")
    if out.exists() and not is_own_classes(out):
        raise OutputError(f"{out} is no file of classes, and is not overwritten: name another.")
    page = out.with_suffix(".html")
    if page.exists() and not is_report(page):
        raise OutputError(f"{page} is no report of classes, and is not overwritten: name another.")
    out.parent.mkdir(parents=True, exist_ok=True)
    return page


def _say_what_is_wrong(taken: Taken) -> None:
    """Name marks that cannot be used, of each file the first."""
    told: Counter[str] = Counter()
    for problem in taken.problems:
        file = re.split(r"(?:, (?:line|feature) \d+)?: ", problem, maxsplit=1)[0]
        told[file] += 1
        if told[file] <= _TOLD:
            print(f"tsfd: {shown(problem)}", file=sys.stderr)
    for file, number in told.items():
        if number > _TOLD:
            print(f"tsfd: {shown(file)}: and {number - _TOLD:,} more.", file=sys.stderr)
    if taken.problems:
        print(f"tsfd: {len(taken.problems):,} marks are left out.", file=sys.stderr)
    if taken.misses > _MISSED * (taken.misses + taken.nuclei):
        print(
            f"tsfd: {taken.misses:,} marks are on no nucleus: x (to the right) and y (down) must "
            "be pixels of level 0, not micrometres.",
            file=sys.stderr,
        )


def _say_what_was_taken(taken: Taken) -> None:
    for names in taken.together:
        print(f"{shown(' and '.join(names))} are of one image: their marks are taken together.")
    slides = sum(bool(len(m.rows) + len(m.not_nuclei)) for m in taken.marked.values())
    print(
        f"{taken.nuclei:,} marked nuclei on {slides} {'image' if slides == 1 else 'images'}; "
        f"{taken.misses} marks on no nucleus, {taken.missing} nuclei marked as missing."
    )
    for name, parent in taken.parents.items():
        if name in taken.kept:
            print(f"{shown(name)}: no marks, kept as the network finds it (or --without {name})")
        elif parent is None:
            print(f"{shown(name)}: new, as the network gives it no class of its own")
        elif parent != name:
            place = "refines" if parent in taken.parents else "takes the place of"
            print(f"{shown(name)}: {place} the network's {parent}")
    for label, name, number, marks in taken.held:
        if number > _HELD * marks:
            print(
                f"{number} of {marks} marks of {shown(label)} are on nuclei that the network calls "
                f"{name} and that stay so: mark some {name} nuclei, too, or leave that class out "
                f"(--without {name})"
            )
    if taken.lost:
        print(
            f"The results also have the classes {shown(', '.join(taken.lost))}, which will be "
            "gone, as no mark is of them: name the files of marks that they were learned from"
        )
    print()
