"""The requests of a load test and their right answers, computed in this process.

The CPU profile must give exactly the answers of OpenVINO and the package ``instances`` here. A GPU
rounds differently: over all answers, its nuclei must agree with those of float32 as an engine's
must (`conversion.agreement`). A single answer holds too few nuclei for that, and counts as wrong if
most of them differ.
"""

from __future__ import annotations

import json
import pickle
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import instances
import numpy as np

from conversion.agreement import ENOUGH, Agreement
from conversion.release import release_file
from conversion.runtimes import served_on_cpus
from samples.patches import patches
from samples.synthetic import generate
from serving.environment import ROOT
from serving.server import ARTEFACT
from tsfd_client.contract import TILE
from tsfd_client.nuclei.assembly import Assembly, TileResult
from tsfd_client.nuclei.result import Nuclei
from tsfd_client.release import Release
from tsfd_client.server.client import Client
from tsfd_client.stitching.tiling import tiling

KINDS = {"tile": 1, "batch": 4, "image": 9}
"""Kinds of requests, and the number of patches in each."""

_IMAGES = 4
_SIDE = 640
_CLASS = instances.COLUMNS.index("class")
_FEW = 4  # nuclei close to a threshold, which only one of two answers may have
_TISSUE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Answer:
    """An instance map, the class name of each nucleus (empty: not compared) and a table."""

    instance_map: np.ndarray
    classes: np.ndarray
    table: np.ndarray
    tissue_probs: np.ndarray


class Asked:
    """All requests, with their right answers.

    Attributes
    ----------
    right
        Right answers by kind, ``"tile"`` or ``"image"``.
    release
        The release that they are answers of.
    agreement
        Agreement of all answers so far, if the server may round differently.
    """

    def __init__(
        self, tiles: list[Answer], images: list[Answer], release: Release, *, exact: bool
    ) -> None:
        self._pixels = {"tile": patches(), "image": _images()}
        self.right = {"tile": tiles, "image": images}
        self.release = release.name
        self._class_names = release.class_names
        self.agreement = Agreement()
        self._exact = exact

    def save(self, path: Path) -> None:
        """Write everything to a file, for `load` in other processes."""
        path.write_bytes(pickle.dumps(self))

    def ask(self, client: Client, kind: str, choice: int) -> bool:
        """Send a request of a kind; return whether the answer is right.

        Raises
        ------
        tsfd_client.TsfdError
            If there is no answer.
        """
        if kind == "image":
            images = self._pixels["image"]
            number = choice % len(images)
            found = client.segment(images[number])
            return self._is_right([_of_image(found)], [self.right["image"][number]])
        tiles = self._pixels["tile"]
        numbers = (choice + np.arange(KINDS[kind])) % len(tiles)
        results = client.segment_tiles(tiles[numbers])
        right = [self.right["tile"][number] for number in numbers]
        return self._is_right([_of_tile(result, self._class_names) for result in results], right)

    def _is_right(self, found: Sequence[Answer], right: Sequence[Answer]) -> bool:
        pairs = list(zip(found, right, strict=True))
        if self._exact:
            return all(_are_equal(*pair) for pair in pairs)
        compared = [_agreement(*pair) for pair in pairs]
        self.agreement = sum(compared, self.agreement)
        return all(map(_is_alike, compared))


def compute(repository: Path = ROOT / "model_repository", *, exact: bool = True) -> Asked:
    """Compute all answers with the models that `repository` serves on a CPU; takes a few seconds.

    Parameters
    ----------
    exact
        Whether the server's answers must be identical, computed in the processor's fastest
        precision; if not, the right answers are float32's, and the server may round.
    """
    import openvino  # here, as the other processes of the load test do not need it

    network = served_on_cpus(repository / ARTEFACT)
    network.reshape({"image": [1, TILE, TILE, 3]})
    settings = {"PERFORMANCE_HINT": "THROUGHPUT"}
    if not exact:
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    compiled = openvino.compile_model(network, "CPU", settings)
    told = json.loads(release_file(repository).read_text())
    release = Release.from_dict(told)
    parameters = instances.Parameters(**release.settings.given())

    def result(tile: np.ndarray) -> TileResult:
        answer = compiled({"image": tile[None]})
        probabilities = {port.any_name: np.array(answer[port])[0] for port in compiled.outputs}
        found = instances.extract(
            probabilities["class_probs"],
            probabilities["boundary_prob"],
            parameters,
        )
        tissue = probabilities["tissue_probs"]
        return TileResult(found.instance_map, found.nuclei, tissue, release.name)

    images = []
    for image in _images():
        cut = tiling(image, release.mpp, release.mpp)
        assembly = Assembly(cut, [(tile, result(tile.image)) for tile in cut])
        more = [(tile, result(tile.image)) for tile in assembly.between]
        images.append(_of_image(assembly.nuclei(more, release)))
    tiles = [_of_tile(result(tile), release.class_names) for tile in patches()]
    _leave_out_rare(tiles + images)
    return Asked(tiles, images, release, exact=exact)


def load(path: Path) -> Asked:
    """Read what `Asked.save` wrote."""
    return pickle.loads(path.read_bytes())


def _images() -> list[np.ndarray]:
    return [generate(_SIDE, _SIDE, nuclei=60 * n, seed=n).image for n in range(1, _IMAGES + 1)]


def _of_tile(result: TileResult, class_names: Sequence[str]) -> Answer:
    nuclei = result.nuclei
    classes = np.array(class_names)[nuclei[:, _CLASS].astype(np.int64)]
    return Answer(result.instance_map, classes, nuclei, result.tissue_probs)


def _of_image(nuclei: Nuclei) -> Answer:
    columns = (nuclei.classes, nuclei.class_probs, nuclei.centroids, nuclei.boxes)
    table = np.column_stack([*columns, nuclei.areas_um2, [len(c) for c in nuclei.contours]])
    return Answer(
        nuclei.instance_map, np.array(nuclei.class_names, str), table, nuclei.tissue_probs
    )


def _are_equal(found: Answer, right: Answer) -> bool:
    return (
        np.array_equal(found.instance_map, right.instance_map)
        and np.array_equal(found.table, right.table)
        and np.allclose(found.tissue_probs, right.tissue_probs, atol=_TISSUE_TOLERANCE)
    )


def _agreement(found: Answer, right: Answer) -> Agreement:
    return Agreement.of(right.instance_map, right.classes, found.instance_map, found.classes)


def _is_alike(one: Agreement) -> bool:
    """Whether a single answer may differ from the right one by rounding only."""
    same = sum(count for (right, found), count in one.classes.items() if right in ("", found))
    return one.nuclei - same + one.superfluous <= max(same, _FEW)


def _leave_out_rare(answers: list[Answer]) -> None:
    """Drop the classes with too few nuclei in all answers together to be judged.

    A load test repeats the same answers, which does not make a rare class less rare.
    """
    counts = Counter(name for answer in answers for name in answer.classes.tolist())
    rare = [name for name, count in counts.items() if count < ENOUGH]
    for answer in answers:
        answer.classes[np.isin(answer.classes, rare)] = ""
