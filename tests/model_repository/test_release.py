"""Every answer names the release that made it, whose parameters are the defaults of requests."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import instances
import numpy as np
import pytest
import tritonclient.grpc as triton
from inference import ENSEMBLE, infer
from releases import change

from conversion.release import Precision, make_release
from serving.environment import ROOT
from serving.server import ModelLoadError, TritonServer
from tests.exported import exported
from training.exported import file_sha256
from training.model import weights
from training.target import PANNUKE


def test_answers_name_their_release(
    client: triton.InferenceServerClient,
    maps: dict[str, np.ndarray],
    patches: np.ndarray,
    release: dict,
) -> None:
    whole = infer(client, ENSEMBLE, {"image": patches[:2]}, ["release", "nuclei_count"])
    assert whole["release"].tolist() == [[release["release"].encode()]] * 2
    alone = infer(client, ENSEMBLE, {"image": patches[:1]}, ["release"])
    assert alone["release"].tolist() == [[release["release"].encode()]]
    direct = infer(client, "nuclei_postprocess", maps, ["release", "class_probs"])
    assert direct["release"].tolist() == [[release["release"].encode()]] * 3


def test_its_parameters_are_the_defaults(
    postprocessing: Path, maps: dict[str, np.ndarray], release: dict
) -> None:
    # The disc of the first patch has 437 pixels.
    parameters = release["parameters"] | {"min_area": 438, "boundary_threshold": 0.3}
    change(postprocessing, release="other-0123456789ab", parameters=parameters)
    with (
        TritonServer(postprocessing) as server,
        triton.InferenceServerClient(server.grpc_url) as client,
    ):
        served = infer(client, "nuclei_postprocess", maps, ["nuclei_count", "release"])
        asked = infer(client, "nuclei_postprocess", maps, ["nuclei_count"], {"min_area": 10})
    assert served["release"].tolist() == [[b"other-0123456789ab"]] * 3
    assert served["nuclei_count"].tolist() == counts(maps, **parameters)
    assert asked["nuclei_count"].tolist() == counts(maps, **parameters | {"min_area": 10})
    assert served["nuclei_count"].tolist() != asked["nuclei_count"].tolist()


def test_the_documented_parameters_are_those_of_the_weights() -> None:
    text = (ROOT / "model_repository" / "README.md").read_text()
    files = ("lite.npz", "lite-20x.npz", "paper.npz")
    header = f"| name | type | {' | '.join(f'of `{file}`' for file in files)} |"
    table = text.partition(header)[2].partition("\n\n")[0]
    rows = [[cell.strip(" `") for cell in row.split("|")[1:6]] for row in table.splitlines()[2:]]
    for column, file in enumerate(files, start=2):
        suited = asdict(weights.parameters(ROOT / "weights" / file))
        documented = {row[0]: row[column] for row in rows}
        assert documented == {name: f"{value}" for name, value in suited.items()}


@pytest.mark.parametrize("file", sorted((ROOT / "weights").glob("*.npz")), ids=lambda f: f.stem)
def test_the_page_knows_the_scores_of_the_shipped_weights(file: Path) -> None:
    known = json.loads((ROOT / "client" / "tsfd_client" / "view" / "scores.json").read_text())
    names = {kind.name for kind in weights.target(file).classes}
    assert known[file_sha256(file)].keys() == names


def test_the_name_changes_with_all_that_decides_an_answer() -> None:
    network = exported(
        "lite", "0" * 64, "1" * 64, asdict(instances.Parameters()), PANNUKE.to_dict()
    )
    others = [
        replace(network, weights_sha256="2" * 64),
        replace(network, classes_sha256="2" * 64),
        replace(network, source_sha256="2" * 64),
        replace(network, parameters=asdict(instances.Parameters(min_area=41))),
        replace(network, target=network.target | {"mpp": 0.5}),
        replace(network, target=network.target | {"classes": network.target["classes"][:3]}),
    ]
    repository = ROOT / "model_repository"
    made = [make_release(one, Precision(), repository) for one in (network, *others)]
    made += [make_release(network, Precision("int8", sha * 64), repository) for sha in "34"]
    assert len({release.release for release in made}) == 9
    assert made[0] == make_release(network, Precision(), repository)


def counts(maps: dict[str, np.ndarray], **parameters: object) -> list[list[int]]:
    found = [
        instances.extract(*patch, instances.Parameters(**parameters))
        for patch in zip(maps["class_probs"], maps["boundary_prob"], strict=True)
    ]
    return [[len(patch.nuclei)] for patch in found]


BROKEN = {
    "missing": (None, "release.json is missing: run `make convert`."),
    "no JSON": (
        "{",
        "release.json is broken (Expecting property name enclosed in double quotes: line 1 column "
        "2 (char 1)): run `make convert`.",
    ),
    "classless": ('{"parameters": {}}', "release.json is broken ('classes'): run `make convert`."),
    "bad value": (
        '{"release": "lite-0", "classes": [], "parameters": {"min_area": -1}}',
        "release.json is broken (min_area must be a whole number of pixels >= 0, not -1.): run "
        "`make convert`.",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_without_a_release_it_does_not_load(postprocessing: Path, kind: str) -> None:
    content, reason = BROKEN[kind]
    path = postprocessing / "nuclei_postprocess/1/release.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(ModelLoadError) as caught:
        TritonServer(postprocessing).start()
    assert str(caught.value) == f"The model nuclei_postprocess cannot be loaded: {reason}"
