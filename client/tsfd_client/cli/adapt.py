"""``tsfd adapt``: learn classes of one's own from marks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tsfd_client.cli import options
from tsfd_client.errors import OutputError, TsfdError
from tsfd_client.files import PARQUET
from tsfd_client.names import shown
from tsfd_client.slides.status import DONE

if TYPE_CHECKING:
    from tsfd_client.classes.adapt import Taken


def adapt(arguments: argparse.Namespace) -> int:
    """Learn classes from the marks on results; return the exit code, 1 if nothing was gained."""
    try:
        import scipy  # noqa: F401
    except ImportError as error:
        raise TsfdError(
            "Learning classes needs scipy: pip install 'tsfd-client[classes]'."
        ) from error
    from tsfd_client.classes.adapt import adapt as learn
    from tsfd_client.classes.head import save
    from tsfd_client.classes.report import text, write_html
    from tsfd_client.server.client import Client

    results = _results(arguments.results)
    with Client(**options.connection(arguments)) as client:
        lesson, taken = learn(
            results, arguments.annotations or [], client, without=arguments.without or []
        )
    _say_what_was_taken(taken)
    print(text(lesson))
    page = arguments.out.with_suffix(".html")
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


def _results(folders: Sequence[Path]) -> dict[str, Path]:
    """Finished results by name: folders of results are searched."""
    found: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise OutputError(f"There is no folder {folder}: name results of `tsfd segment`.")
        inside = [folder] if (folder / PARQUET).is_file() else sorted(folder.iterdir())
        own = [path for path in inside if (path / DONE).is_file() and (path / PARQUET).is_file()]
        if not own:
            raise OutputError(f"{folder} is no finished result of `tsfd segment`, and holds none.")
        for path in own:
            if found.setdefault(path.name, path) != path:
                raise OutputError(f"Two results are called {path.name}: rename one of the folders.")
    return found


def _say_what_was_taken(taken: Taken) -> None:
    for problem in taken.problems:
        print(f"tsfd: {shown(problem)}", file=sys.stderr)
    if taken.problems:
        print(f"tsfd: {len(taken.problems)} marks are left out.", file=sys.stderr)
    for names in taken.together:
        print(f"{shown(' and '.join(names))} are of one image: their marks are taken together.")
    slides = sum(bool(len(m.rows) + len(m.not_nuclei)) for m in taken.marked.values())
    nuclei = sum(len(m.rows) + len(m.not_nuclei) for m in taken.marked.values())
    print(
        f"{nuclei:,} marked nuclei on {slides} {'image' if slides == 1 else 'images'}; "
        f"{taken.misses} marks on no nucleus, {taken.missing} nuclei marked as missing."
    )
    for name, parent in taken.parents.items():
        if name in taken.kept:
            print(f"{shown(name)}: no marks, kept as the network finds it (or --without it)")
        elif parent is None:
            print(f"{shown(name)}: new, as the network gives it no class of its own")
        elif parent != name:
            place = "refines" if parent in taken.parents else "takes the place of"
            print(f"{shown(name)}: {place} the network's {parent}")
    print()
