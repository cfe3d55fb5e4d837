"""The systems compared: networks, and how each cuts a slide into tiles."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx

from bench.peers import cppnet, hovernet, hovernext, stardist
from samples.patches import patches
from training.quiet import quiet_tensorflow
from training.target import PANNUKE
from tsfd_client.contract import TILE
from tsfd_client.stitching.grid import OVERLAP


@dataclass(frozen=True)
class System:
    """A network and how it covers a slide.

    Attributes
    ----------
    build
        Builds the network with random weights; returns it and its number of parameters.
    tile
        Side of the network's input in pixels.
    step
        Pixels from one tile to the next.
    mpp
        Micrometres per pixel.
    preprocesses
        Whether the network takes uint8 [N, H, W, 3]; the others take float32 [1, 3, H, W].
    """

    build: Callable[[], tuple[onnx.ModelProto, int]]
    tile: int
    step: int
    mpp: float
    preprocesses: bool = False

    @property
    def patches_per_tile(self) -> float:
        """Area of a tile in patches of 256 x 256 pixels."""
        return (self.tile / TILE) ** 2

    @property
    def tiles_per_mm2(self) -> float:
        """Tiles per square millimetre of an endless slide."""
        return (1000 / self.mpp / self.step) ** 2

    def image(self) -> np.ndarray:
        """A tile of synthetic tissue in the network's format."""
        blocks = patches().reshape(4, 4, TILE, TILE, 3).swapaxes(1, 2)
        tile = blocks.reshape(1, 4 * TILE, 4 * TILE, 3)[:, -self.tile :, -self.tile :]
        return tile if self.preprocesses else tile.transpose(0, 3, 1, 2).astype(np.float32)


def _preset(name: str) -> tuple[onnx.ModelProto, int]:
    with quiet_tensorflow():
        from conversion.to_onnx import convert
        from training.export import export, origin_of
        from training.model.network import build
    network = build(name)
    with tempfile.TemporaryDirectory() as folder:
        saved_model = Path(folder) / "saved_model"
        export(network, saved_model, origin_of(network, name, "untrained", {}, PANNUKE.to_dict()))
        return convert(saved_model), network.count_params()


def _ours(preset: str, mpp: float = PANNUKE.mpp) -> System:
    return System(partial(_preset, preset), TILE, TILE - OVERLAP, mpp, preprocesses=True)


YARDSTICK = "lite"
SYSTEMS: dict[str, System] = {
    YARDSTICK: _ours("lite"),
    "paper": _ours("paper"),
    # The network lite, trained for another scale.
    "lite-20x": _ours("lite", 0.5),
    "Hover-Net fast": System(hovernet.build, hovernet.SIDE, hovernet.MIDDLE, 0.25),
    # Trained at 40x. It takes tiles of any side, and its own command cuts images as the user says.
    "StarDist H&E": System(partial(stardist.he, 1024), 1024, 1024 - 64, 0.25),
    # Published for PanNuke's patches, without a way to tile a slide, so tiled like ours.
    "StarDist ResNet-50": System(stardist.resnet, TILE, TILE - OVERLAP, 0.25),
    "CPP-Net": System(cppnet.build, TILE, TILE - OVERLAP, 0.25),
    "HoVer-NeXt": System(hovernext.build, hovernext.SIDE, hovernext.STEP, 0.5),
}
"""Systems by name; all are compared with `YARDSTICK`."""
