"""The folder of an image's run: its facts, its blocks and its outputs.

    run.json                        facts that decide the result; must be the same to resume
    blocks/r003_c012.closed.parquet nuclei that no other block can change
    blocks/r003_c012.open.parquet   versions of nuclei at the block's borders
    origin.json                     path of the image
    nuclei.parquet summary.json events.jsonl, and
    for a slide    nuclei.geojson.gz overview.png tissue.geojson artifacts.geojson
    for a picture  nuclei.geojson nuclei.csv labels.png overlay.png
    DONE                            written last

A block is done when both of its files exist. They are removed when the run is done.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tsfd_client.errors import OutputError
from tsfd_client.files import PARQUET, RUN, replacing, sweep
from tsfd_client.nuclei.summary import FILE as SUMMARY
from tsfd_client.slides.status import DONE
from tsfd_client.stitching.blocks import Block

_OUTPUTS = (PARQUET, SUMMARY, DONE)
_OF_A_SLIDE = ("nuclei.geojson.gz", "overview.png")
_OF_A_PICTURE = ("nuclei.geojson", "nuclei.csv", "labels.*", "overlay.png")


class Run:
    """The folder of a run, of a picture or of a slide.

    Attributes
    ----------
    folder
        Receives the outputs.
    blocks
        Folder of what is kept until the run is done.
    """

    def __init__(self, folder: Path, *, is_picture: bool) -> None:
        self.folder = folder
        self._outputs = _OUTPUTS + (_OF_A_PICTURE if is_picture else _OF_A_SLIDE)
        self.blocks = folder / "blocks"

    @property
    def is_done(self) -> bool:
        """Whether all outputs exist; outputs that were deleted are made again."""
        return all(any(self.folder.glob(name)) for name in self._outputs)

    @property
    def _has_begun(self) -> bool:
        """Whether there is an output or a block."""
        there = (any(self.folder.glob(name)) for name in self._outputs)
        return any(there) or any(self.blocks.glob("*.parquet"))

    def begin(self, facts: dict[str, Any]) -> None:
        """Create the run, or resume one that was started with the same facts.

        Other facts take the place of those of a run of which nothing is kept yet.

        Raises
        ------
        OutputError
            If it was started with other facts; the message names the first that differs.
        """
        path = self.folder / RUN
        if path.is_file() and self._has_begun:
            self._compare(path, facts)
        else:
            (self.folder / DONE).unlink(missing_ok=True)
            with replacing(path) as partial:
                partial.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
        if not self.is_done:
            sweep(self.folder)
            self.blocks.mkdir(exist_ok=True)

    def has(self, block: Block) -> bool:
        """Whether a block is done."""
        return all(path.is_file() for path in self._paths(block))

    def write(self, block: Block, *, closed: pa.Table, left_open: pa.Table) -> None:
        """Write the nuclei of a block, which marks it as done.

        Parameters
        ----------
        closed
            Table made by `tsfd_client.nuclei.table.from_nuclei`.
        left_open
            Table made by `tsfd_client.stitching.seams.to_table`.
        """
        for path, table in zip(self._paths(block), (left_open, closed), strict=True):
            with replacing(path) as partial:
                # Read once and removed: quick matters more than small.
                pq.write_table(table, partial, compression="lz4", use_dictionary=False)

    def closed(self, block: Block) -> pa.Table:
        """Read the block's nuclei that no other block can change."""
        return pq.read_table(self._paths(block)[1])

    def open(self, block: Block) -> pa.Table:
        """Read the block's versions of nuclei at its borders."""
        return pq.read_table(self._paths(block)[0])

    def finish(self) -> None:
        """Mark the run as done, and remove the blocks."""
        with replacing(self.folder / DONE) as partial:
            partial.touch()
        shutil.rmtree(self.blocks, ignore_errors=True)

    def _paths(self, block: Block) -> tuple[Path, Path]:
        return (
            self.blocks / f"{block.name}.open.parquet",
            self.blocks / f"{block.name}.closed.parquet",
        )

    def _compare(self, path: Path, facts: dict[str, Any]) -> None:
        try:
            begun = json.loads(path.read_text())
        except ValueError:
            begun = None
        if not isinstance(begun, dict):
            raise OutputError(f"{path} is damaged: remove {self.folder} to start afresh.")
        differing = [name for name in {**begun, **facts} if begun.get(name) != facts.get(name)]
        if differing:
            name = differing[0]
            if name == "slide":
                raise OutputError(
                    f"{self.folder} was started with another image of this name: choose another "
                    "--out (in Python out=), or remove the folder."
                )
            if name == "tissue":
                raise OutputError(
                    f"{self.folder} was started with another outline of the tissue: choose another "
                    "--out (in Python out=), or remove the folder."
                )
            raise OutputError(
                f"{self.folder} was started with {name.replace('_', ' ')} "
                f"{json.dumps(begun.get(name))}, not {json.dumps(facts.get(name))}: choose another "
                "--out (in Python out=), or remove the folder."
            )
