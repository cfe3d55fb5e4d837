"""The configurations say what the README promises, on both profiles."""

from __future__ import annotations

import inspect
import json
import urllib.request
from dataclasses import asdict, replace
from pathlib import Path

import instances
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from conversion import model_io
from conversion.configuration import configurations
from conversion.release import Precision, make_release, to_json
from serving.environment import ROOT
from serving.server import ModelLoadError, TritonServer
from tests.exported import FEATURES, exported
from training.target import CLASSES, PANNUKE
from tsfd_client import Client
from tsfd_client.contract import MAX_BATCH, TILE, TISSUES

REPOSITORY = ROOT / "model_repository"
CONFIGS = {
    "tsfd_net": REPOSITORY / "tsfd_net/config.pbtxt",
    "tsfd_net on the CPU": REPOSITORY / "tsfd_net/configs/cpu.pbtxt",
    "nuclei_postprocess": REPOSITORY / "nuclei_postprocess/config.pbtxt",
    "nuclei_segmentation": REPOSITORY / "nuclei_segmentation/config.pbtxt",
    "nuclei_pool": REPOSITORY / "nuclei_pool/config.pbtxt",
    "nuclei_features": REPOSITORY / "nuclei_features/config.pbtxt",
}
ENSEMBLES = ("nuclei_segmentation", "nuclei_features")
NETWORK = exported("lite", "0" * 64, "1" * 64, asdict(instances.Parameters()), PANNUKE.to_dict())
RELEASE = make_release(NETWORK, Precision(), REPOSITORY)
WRITTEN = configurations(REPOSITORY, RELEASE)
"""What a conversion makes of the templates."""

IMAGE = {"image": ("UINT8", [256, 256, 3])}
MAPS = {
    "class_probs": ("UINT8", [256, 256, len(CLASSES)]),
    "boundary_prob": ("UINT8", [256, 256]),
}
TISSUE = {"tissue_probs": ("FP32", [len(TISSUES)])}
NUCLEI = {
    "instance_map": ("UINT16", [256, 256]),
    "nuclei": ("FP32", [-1, 11]),
    "nuclei_count": ("INT32", [1]),
    "contours": ("INT16", [-1, 2]),
    "release": ("STRING", [1]),
}
GRID = {"features": ("FP16", [64, 64, FEATURES])}
INSTANCES = {"instance_map": ("UINT16", [256, 256])}
POOLED = {"nuclei_features": ("FP16", [-1, FEATURES])}
CONTRACT = {
    "tsfd_net": (IMAGE, MAPS | TISSUE | GRID),
    "nuclei_postprocess": (MAPS, NUCLEI | MAPS),
    "nuclei_segmentation": (IMAGE, NUCLEI | MAPS | TISSUE),
    "nuclei_pool": (GRID | INSTANCES, POOLED),
    "nuclei_features": (IMAGE | INSTANCES, POOLED),
}


def read(path: Path) -> model_config_pb2.ModelConfig:
    return text_format.Parse(WRITTEN[path], model_config_pb2.ModelConfig())


def tensors(declared: list) -> dict[str, tuple[str, list[int]]]:
    kinds = model_config_pb2.DataType
    return {t.name: (kinds.Name(t.data_type).removeprefix("TYPE_"), [*t.dims]) for t in declared}


@pytest.mark.parametrize("name", CONFIGS)
def test_tensors_of_the_configuration(name: str) -> None:
    config = read(CONFIGS[name])
    inputs, outputs = CONTRACT[config.name]
    assert tensors(config.input) == inputs
    assert tensors(config.output) == outputs
    assert config.max_batch_size == MAX_BATCH
    assert CONFIGS[name].relative_to(REPOSITORY).parts[0] == config.name


def test_conversion_runs_where_no_client_is_and_knows_the_same_sizes() -> None:
    assert (model_io.TILE, model_io.BATCH_MAX) == (TILE, MAX_BATCH) == (256, 32)


@pytest.mark.parametrize("name", ["tsfd_net", "tsfd_net on the CPU", "nuclei_postprocess"])
def test_models_warm_up(name: str) -> None:
    assert read(CONFIGS[name]).model_warmup


@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in ENSEMBLES])
def test_queues_are_bounded(name: str) -> None:
    config = read(CONFIGS[name])
    policy = config.dynamic_batching.default_queue_policy
    assert policy.max_queue_size > 0
    assert policy.default_timeout_microseconds > 0
    assert policy.timeout_action == policy.REJECT
    assert config.version_policy.latest.num_versions == 1


def test_the_ensemble_says_what_is_served() -> None:
    told = read(CONFIGS["nuclei_segmentation"]).parameters["release"].string_value
    assert json.loads(told) == json.loads(to_json(RELEASE))


def test_classes_decide_shapes() -> None:
    target = {"mpp": 0.5, "classes": NETWORK.target["classes"][:3]}
    release = make_release(replace(NETWORK, target=target), Precision(), REPOSITORY)
    configs = [
        text_format.Parse(content, model_config_pb2.ModelConfig())
        for content in configurations(REPOSITORY, release).values()
    ]
    every = [t for config in configs for t in (*config.input, *config.output)]
    assert {tuple(t.dims) for t in every if t.name == "class_probs"} == {(256, 256, 4)}


def test_profiles() -> None:
    production = read(CONFIGS["tsfd_net"])
    assert production.platform == "tensorrt_plan"
    assert {group.kind for group in production.instance_group} == {
        model_config_pb2.ModelInstanceGroup.KIND_GPU
    }
    cpu = read(CONFIGS["tsfd_net on the CPU"])
    assert cpu.backend == "python"


def test_a_graph_is_captured_for_every_size_that_occurs() -> None:
    production = read(CONFIGS["tsfd_net"])
    captured = {graph.batch_size for graph in production.optimization.cuda.graph_spec}
    sent = inspect.signature(Client).parameters["batch_size"].default
    occurring = {1, sent, production.max_batch_size}
    occurring |= {*production.dynamic_batching.preferred_batch_size}
    assert occurring <= captured
    assert {warmup.batch_size for warmup in production.model_warmup} == occurring
    assert production.optimization.cuda.graphs


def test_every_batch_finds_a_captured_graph() -> None:
    """By the rule of Triton's TensorRT backend, which compares batch size and shape."""
    production = read(CONFIGS["tsfd_net"])
    shape = [*production.input[0].dims]

    def limits(spec: object) -> tuple[list[int], list[int]]:
        least = spec.graph_lower_bound if spec.HasField("graph_lower_bound") else spec
        # Without a shape the lower bound is the graph's own shape.
        dims = least.batch_size if "image" in least.input else spec.batch_size
        return [least.batch_size, dims, *shape], [spec.batch_size, spec.batch_size, *shape]

    for size in range(1, production.max_batch_size + 1):
        taken = next(
            spec.batch_size
            for spec in production.optimization.cuda.graph_spec
            if all(
                low <= value <= high
                for low, high, value in zip(*limits(spec), [size, size, *shape], strict=True)
            )
        )
        assert taken <= 1.5 * size


@pytest.mark.slow
def test_triton_reads_the_production_profile(tmp_path: Path) -> None:
    """As far as a server without the TensorRT backend can."""
    model = tmp_path / "repository/tsfd_net"
    (model / "1").mkdir(parents=True)
    (model / "1/model.onnx").touch()
    (model / "config.pbtxt").write_bytes(WRITTEN[CONFIGS["tsfd_net"]])
    with pytest.raises(ModelLoadError, match="backend library for backend 'tensorrt'"):
        TritonServer(model.parent).start()


@pytest.mark.parametrize("name", ENSEMBLES)
def test_no_output_of_an_ensemble_feeds_a_step(name: str) -> None:
    """Triton would skip a step that another one needs when a request leaves the output out."""
    config = read(CONFIGS[name])
    fed = {tensor for step in config.ensemble_scheduling.step for tensor in step.input_map.values()}
    assert fed.isdisjoint(output.name for output in config.output)


@pytest.mark.parametrize("name", ENSEMBLES)
def test_ensembles_name_fixed_versions(name: str) -> None:
    steps = read(CONFIGS[name]).ensemble_scheduling.step
    assert {step.model_version for step in steps} == {1}


def test_what_all_python_models_hold_is_the_same() -> None:
    """Each version folder works alone, so each has its copy."""
    copies = [*REPOSITORY.glob("*/1/host.py")]
    assert len(copies) == 3
    assert len({copy.read_text() for copy in copies}) == 1


@pytest.mark.parametrize("name", ENSEMBLES)
def test_ensembles_keep_their_version_folders_in_git(name: str) -> None:
    assert (REPOSITORY / name / "1/.gitkeep").is_file()


@pytest.mark.parametrize("model", CONTRACT)
def test_metadata_of_the_running_server(server: TritonServer, model: str) -> None:
    with urllib.request.urlopen(f"{server.http_url}/v2/models/{model}") as answer:
        metadata = json.load(answer)
    inputs, outputs = CONTRACT[model]
    for declared, wanted in ((metadata["inputs"], inputs), (metadata["outputs"], outputs)):
        found = {
            t["name"]: (t["datatype"].replace("BYTES", "STRING"), t["shape"]) for t in declared
        }
        assert found == {name: (kind, [-1, *shape]) for name, (kind, shape) in wanted.items()}
