"""A plan for the host at the start; OpenVINO's export, built and run for real, in its place."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import tritonclient.grpc as triton
from instances import Parameters
from onnx import TensorProto, helper, numpy_helper

from conversion import cache, ensure_engine, openvino_engine, parity, runtimes
from conversion.errors import ConversionError
from conversion.host_support import Host, refusal
from conversion.model_io import ENGINE_SOURCE, OUTPUTS, PARITY_DATA, THINNING
from conversion.parity_data import ParityData
from conversion.sidecar import Gpu, Sidecar, misfit, sidecar_file
from serving import installation
from serving.environment import ROOT

BUILDER = ensure_engine.BUILDERS["openvino"]
FAULTY = ROOT / "tests/conversion/openvino_engine.py"
SERVE = [sys.executable, "-m", "serving", "--rehearse"]
SERVE += [f"--{name}-port=0" for name in ("grpc", "http", "metrics", "health")]
SERVED = parity.Served(Parameters(), ("neoplastic", "inflammatory", "connective", "dead", "other"))
HOPPER = Gpu("NVIDIA H100 80GB HBM3", "9.0")
H100 = Host("TensorRT", "11.1.0.106", HOPPER, "580.95.05")


def small_network() -> bytes:
    """A network that keeps the contract, finds nuclei in coloured clouds, and takes no time."""
    seeded = np.random.default_rng(5)

    def weights(name: str, spread: float, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(seeded.normal(0, spread, shape).astype(np.float32), name)

    constants = [
        weights("classes", 30, 6, 3, 1, 1),
        weights("edges", 30, 1, 3, 1, 1),
        weights("tissues", 1, 3, 19),
        numpy_helper.from_array(np.array(0.5, np.float32), "half"),
        numpy_helper.from_array(np.array(255, np.float32), "levels"),
        numpy_helper.from_array(np.array([1], np.int64), "channel"),
        numpy_helper.from_array(np.array([2, 3], np.int64), "plane"),
    ]
    nodes = [
        helper.make_node("Cast", ["image"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["numbers", "levels"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "half"], ["centred"]),
        helper.make_node("Transpose", ["centred"], ["planes"], perm=[0, 3, 1, 2]),
    ]
    for name, kernel, function in (
        ("class", "classes", helper.make_node("Softmax", ["class_logits"], [], axis=1)),
        ("boundary", "edges", helper.make_node("Sigmoid", ["boundary_logits"], [])),
    ):
        function.output.append(f"{name}_probability")
        nodes += [
            helper.make_node("Conv", ["planes", kernel], [f"{name}_logits"]),
            function,
            helper.make_node("Mul", [f"{name}_probability", "levels"], [f"{name}_levels"]),
            helper.make_node("Round", [f"{name}_levels"], [f"{name}_rounded"]),
            helper.make_node("Cast", [f"{name}_rounded"], [f"{name}_bytes"], to=TensorProto.UINT8),
        ]
    nodes += [
        helper.make_node("Transpose", ["class_bytes"], ["class_probs"], perm=[0, 2, 3, 1]),
        helper.make_node("Squeeze", ["boundary_bytes", "channel"], ["boundary_prob"]),
        helper.make_node("ReduceMean", ["planes", "plane"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "tissues"], ["tissue_logits"]),
        helper.make_node("Softmax", ["tissue_logits"], ["tissue_probs"]),
        helper.make_node("AveragePool", ["planes"], ["cells"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Cast", ["cells"], ["halves"], to=TensorProto.FLOAT16),
        helper.make_node("Transpose", ["halves"], ["features"], perm=[0, 2, 3, 1]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 256, 256, 3])
    outputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), ["N", *shape]
        )
        for name, (dtype, shape) in OUTPUTS.items()
    ]
    graph = helper.make_graph(nodes, "small", [image], outputs, constants)
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10
    ).SerializeToString()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with the small network, and no plan."""
    repository = tmp_path_factory.mktemp("first_start") / "repository"
    folder = repository / "tsfd_net/1"
    folder.mkdir(parents=True)
    (repository / "nuclei_postprocess").symlink_to(ROOT / "model_repository/nuclei_postprocess")
    source = folder / ENGINE_SOURCE
    source.write_bytes(small_network())
    noise = np.random.default_rng(0).normal(0, 1, (2, 256, 256, 3))
    images = np.stack([cv2.GaussianBlur(each, (0, 0), 6) for each in noise])
    images = np.clip(128 + 1000 * images, 0, 255).astype(np.uint8)
    outputs = runtimes.infer(runtimes.onnx_runtime(source), images)
    (folder / PARITY_DATA).write_bytes(ParityData(images, outputs, parity.HALF, SERVED).to_bytes())
    return repository


@pytest.fixture
def shipped(small: Path, tmp_path: Path) -> Path:
    """A repository of its own, with a plan that fits."""
    repository = Path(shutil.copytree(small, tmp_path / "repository", symlinks=True))
    folder = repository / "tsfd_net/1"
    openvino_engine.build(folder / ENGINE_SOURCE, folder / "model.plan")
    return repository


def spoil(plan: Path, fault: str) -> None:
    """Make a plan that fits one that does not."""
    source = (plan.parent / ENGINE_SOURCE).read_bytes()
    here, engine = openvino_engine.host(), plan.read_bytes()
    if fault == "truncated":
        plan.write_bytes(engine[:1000])
        return
    if fault == "without sidecar":
        sidecar_file(plan).unlink()
        return
    if fault == "no engine":
        engine = b"no engine"
    if fault == "other weights":
        network = onnx.load_from_string(source)
        for tensor in network.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.ndim == 4:
                tensor.CopyFrom(numpy_helper.from_array(-values, tensor.name))
        other = plan.with_name("other.onnx")
        onnx.save(network, other)
        openvino_engine.build(other, plan)
        engine = plan.read_bytes()
    version = "10.16.0" if fault == "other version" else here.version
    gpu = HOPPER if fault == "other GPU" else here.gpu
    built_from = b"another" if fault == "other network" else source
    plan.write_bytes(engine)
    sidecar_file(plan).write_text(Sidecar.describe(version, gpu, built_from, engine).to_json())


@pytest.fixture
def engines(tmp_path: Path) -> Path:
    return tmp_path / "engines"


def command(repository: Path, engines: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "conversion.ensure_engine", "--builder", "openvino"),
        *("--repository", str(repository), "--engines", str(engines)),
    ]


def kept(engines: Path) -> list[str]:
    """What lies in the cache, without its locks."""
    return sorted(path.name for path in engines.iterdir() if path.suffix != ".lock")


def test_a_plan_that_fits_is_taken_as_it_is(
    shipped: Path, engines: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = shipped / "tsfd_net/1/model.plan"

    found = ensure_engine.find(shipped, engines, BUILDER)

    assert (found.plan, found.source, found.build_seconds) == (plan, "repository", None)
    assert not engines.exists()
    assert f"engine: {plan} fits\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("other version", r"built by TensorRT 10\.16\.0 and will not load in the installed 20"),
        ("other GPU", f"was built for {HOPPER.name}, not for "),
        ("other network", "it was built from another network than "),
        ("without sidecar", "has no readable sidecar model.plan.json"),
        ("truncated", "is not the engine that its sidecar describes"),
        ("no engine", "the engine's run failed: "),
        ("other weights", r"of \d+ \w+ nuclei \d+% stay "),
    ],
)
def test_a_plan_that_does_not_fit_must_not_serve(fault: str, reason: str, shipped: Path) -> None:
    folder = shipped / "tsfd_net/1"
    spoil(folder / "model.plan", fault)

    with pytest.raises(ConversionError, match=reason):
        ensure_engine.Judge(openvino_engine.host(), BUILDER, folder).parity(folder / "model.plan")


def test_a_foreign_plan_is_built_anew_and_kept(
    shipped: Path, engines: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = shipped / "tsfd_net/1/model.plan"
    spoil(plan, "other GPU")
    foreign = plan.read_bytes()

    built = ensure_engine.find(shipped, engines, BUILDER)
    log = capsys.readouterr().err
    again = ensure_engine.find(shipped, engines, BUILDER)

    assert (built.source, again.source, again.plan) == ("built", "cache", built.plan)
    assert [re.sub(r"\d[\d.]* s$", "n s", line) for line in log.splitlines()] == [
        f"engine: this host has {built.host.line()}",
        f"engine: {plan} is not used: it was built for {HOPPER.name}, not for "
        f"{built.host.gpu.name}.",
        "engine: building a plan, which takes minutes on a GPU",
        "engine: built in n s",
        f"engine: {built.parity.line()}",
        f"engine: kept as {built.plan}",
    ]
    assert kept(engines) == [built.plan.parent.name]
    assert plan.read_bytes() == foreign  # the repository is left as it was shipped


def key(repository: Path) -> str:
    """Name in the cache of the plan of a repository's network."""
    source = (repository / "tsfd_net/1" / ENGINE_SOURCE).read_bytes()
    return cache.key(hashlib.sha256(source).hexdigest(), openvino_engine.host())


def test_a_damaged_plan_of_the_cache_is_built_anew(shipped: Path, engines: Path) -> None:
    plan = shipped / "tsfd_net/1/model.plan"
    good = plan.read_bytes()
    place = engines / key(shipped) / "model.plan"
    place.parent.mkdir(parents=True)
    sidecar_file(plan).rename(sidecar_file(place))
    plan.unlink()
    place.write_bytes(good[: len(good) // 2])

    found = ensure_engine.find(shipped, engines, BUILDER)

    assert (found.source, found.plan) == ("built", place)
    assert misfit(place, version=None, device=None) is None  # it is what its sidecar describes


def test_a_plan_that_fails_where_it_was_built_is_not_kept(small: Path, engines: Path) -> None:
    command = (sys.executable, str(FAULTY), "--fault", "wrong")

    with pytest.raises(
        ConversionError, match=r"The plan built here cannot be served: of \d+ \w+ nuclei \d+% stay "
    ):
        ensure_engine.find(small, engines, command)

    assert kept(engines) == []


def test_the_next_build_begins_with_the_timings_of_the_last(engines: Path) -> None:
    kernels = "timing-11.1.0.106-9.0.cache"
    for key, known in (("one", []), ("other", [kernels])):
        with cache.locked(engines, key, lambda: None) as plan, cache.scratch(plan, 0) as folder:
            assert [file.name for file in folder.iterdir()] == known
            (folder / kernels).write_text(key)
            cache.keep_timings(folder)

    assert (engines / kernels).read_text() == "other"


@pytest.mark.long
def test_two_at_once_build_one(small: Path, engines: Path) -> None:
    name = key(small)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
    with cache.locked(engines, name, lambda: None):  # neither is first
        both = [subprocess.Popen(command(small, engines), **pipes) for _ in range(2)]
        for process in both:
            while "waiting for it" not in process.stderr.readline():
                assert process.poll() is None
    said = [process.communicate() for process in both]

    sources = [json.loads(answer)["source"] for answer, _ in said]
    assert sorted(sources) == ["built", "cache"]
    assert [log.count("building a plan") for _, log in said] == [s == "built" for s in sources]
    assert kept(engines) == [name]


@pytest.mark.long
def test_a_start_that_was_killed_while_it_built_leaves_the_next_one_free(
    small: Path, engines: Path
) -> None:
    process = subprocess.Popen(
        command(small, engines), stderr=subprocess.PIPE, cwd=ROOT, start_new_session=True
    )
    with process:
        while b"building a plan" not in process.stderr.readline():
            assert process.poll() is None
        while not kept(engines):
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
    (left,) = kept(engines)
    assert left.startswith(".")

    found = ensure_engine.find(small, engines, BUILDER)

    assert found.source == "built"
    assert kept(engines) == [found.plan.parent.name]


def test_a_cache_without_room_is_one_line(small: Path, tmp_path: Path) -> None:
    """A volume of 4 MB."""
    volume = tmp_path / "volume"
    volume.mkdir()
    mount = ["unshare", "--mount", "sh", "-c"]
    place = f'mount -t tmpfs -o size=4m tmpfs {volume} && exec "$@"'
    if subprocess.run([*mount, f"mount -t tmpfs tmpfs {volume}"], check=False).returncode:
        pytest.skip("nothing can be mounted here")

    result = subprocess.run(
        [*mount, place, "sh", *command(small, volume)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )

    assert result.returncode == 1
    assert result.stderr.splitlines()[2:] == [
        f"ensure_engine: The cache of engines {volume} has 4 MB left, but building an engine "
        "takes 32 MB: give it more space, or remove engines of former releases."
    ]


@pytest.mark.long
def test_a_plan_that_cannot_be_written_whole_is_one_line(small: Path, engines: Path) -> None:
    """As on a volume that fills up while the plan is written."""
    limited = ["sh", "-c", 'ulimit -f 4; exec "$@"', "sh"]

    result = subprocess.run(
        [*limited, *command(small, engines)], capture_output=True, text=True, check=False, cwd=ROOT
    )

    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith(
        "ensure_engine: the engine's build failed: [Errno 27] File too large"
    )
    assert kept(engines) == []


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "engines"
    file.write_text("a file where the folder should be")

    with pytest.raises(ConversionError) as caught, cache.locked(file, "key", lambda: None):
        pass

    assert str(caught.value) == (
        f"The cache of engines {file} cannot be written (File exists): mount a volume there, or "
        "name another folder with --engines."
    )


@pytest.mark.parametrize("missing", [ENGINE_SOURCE, PARITY_DATA])
def test_a_repository_that_lacks_what_plans_are_built_from(missing: str, shipped: Path) -> None:
    path = shipped / "tsfd_net/1" / missing
    path.unlink()

    with pytest.raises(ConversionError, match=f"{path} .*: run `make convert`\\."):
        ensure_engine.Judge(H100, BUILDER, path.parent)


@pytest.mark.parametrize(
    ("host", "server", "reason"),
    [
        (H100, "2.71.0", None),
        (H100, None, None),
        (H100, "2.51.0", "Triton 2.51.0 is not supported: use 2.71"),
        (
            Host("TensorRT", "11.10.0", H100.gpu, H100.driver),
            "2.71.0",
            "TensorRT 11.10.0 is not supported: use 11.1",
        ),
        (
            Host("TensorRT", "11.1.0", H100.gpu, "550.54.15"),
            "2.71.0",
            "The NVIDIA driver 550.54.15 is too old: use 580 or newer",
        ),
        (
            Host("TensorRT", "11.1.0", Gpu("Tesla V100-SXM2-16GB", "7.0"), H100.driver),
            "2.71.0",
            "Tesla V100-SXM2-16GB (compute capability 7.0) is not supported: use 7.5 or 8.0 or 8.6 "
            "or 8.9 or 9.0 or 10.0 or 10.3 or 12.0",
        ),
    ],
)
def test_what_is_supported(host: Host, server: str | None, reason: str | None) -> None:
    said = refusal(host, server)

    assert said == (reason and f"{reason} (deploy/gpu.md has the table).")


def test_nothing_is_built_on_a_host_that_is_not_supported(
    small: Path, engines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_SERVER_VERSION", "2.30.0")

    with pytest.raises(ConversionError, match=r"Triton 2\.30\.0 is not supported: use 2\.51 "):
        ensure_engine.find(small, engines, BUILDER)

    assert not engines.exists()


@pytest.fixture
def complete(repository: Path, small: Path, tmp_path: Path) -> Path:
    """A whole repository of the small network, whose server serves the plan."""
    models = repository
    repository = Path(shutil.copytree(small, tmp_path / "repository", symlinks=True))
    network = repository / "tsfd_net"
    (repository / "nuclei_postprocess").unlink()
    for name in ("nuclei_postprocess", "nuclei_segmentation"):
        (repository / name).symlink_to(models / name)
    for name in ("config.pbtxt", "configs"):
        (network / name).symlink_to(models / "tsfd_net" / name)
    (network / "1/model.py").symlink_to(Path(__file__).with_name("plan_model.py"))
    (network / "1/model.onnx").touch()  # which that one does not read
    release = json.loads((models / "nuclei_postprocess/1/release.json").read_text())
    expect(network / "1" / PARITY_DATA, **release["parameters"])
    return repository


def expect(file: Path, **parameters: float) -> None:
    """Record other thresholds with the answers that are expected."""
    expected = ParityData.read(file)
    served = replace(expected.served, parameters=Parameters(**parameters))
    file.write_bytes(replace(expected, served=served).to_bytes())


@pytest.mark.slow
def test_the_server_serves_the_plan_that_was_built(
    complete: Path, engines: Path, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    expected = ParityData.read(complete / "tsfd_net/1" / PARITY_DATA)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
    options = ["--repository", str(complete), "--engines", str(engines)]
    environment = os.environ | {"TMPDIR": str(scratch)}
    with subprocess.Popen([*SERVE, *options], env=environment, **pipes) as process:
        try:
            ready = process.stdout.readline()
            assert ready.startswith("READY"), process.stderr.read()
            with triton.InferenceServerClient(ready.split()[2]) as connection:
                assert len([*scratch.glob("tsfd-repository-*")]) == 1
                image = triton.InferInput("image", expected.images.shape, "UINT8")
                image.set_data_from_numpy(expected.images)
                answer = connection.infer("tsfd_net", [image])
                served = {name: answer.as_numpy(name) for name in OUTPUTS}
                served["features"] = served["features"][:, ::THINNING, ::THINNING]
                probabilities = connection.infer("nuclei_segmentation", [image])
        finally:
            process.terminate()
        log = process.communicate(timeout=60)[1]

    assert process.returncode == 0
    exactly = parity.FLOAT32, expected.served
    assert not parity.compare("served", expected.outputs, served, *exactly).failures
    assert (probabilities.as_numpy("class_probs") == served["class_probs"]).all()
    assert len(kept(engines)) == 1
    steps = [line for line in log.splitlines() if line.startswith("engine: ")]
    assert len(steps) == 6
    assert re.fullmatch(
        r"engine: served: (\d+) nuclei against \1, PQ (0\.99|1\.00)\d\d: ok", steps[-1]
    )
    assert not [*scratch.glob("tsfd-repository-*")]


def refusal_to_serve(repository: Path, engines: Path) -> str:
    """The last line of a server that ends without having been ready."""
    result = subprocess.run(
        [*SERVE, "--repository", str(repository), "--engines", str(engines)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert (result.returncode, result.stdout) == (1, "")
    return result.stderr.splitlines()[-1]


@pytest.mark.long
def test_a_plan_that_answers_wrongly_is_never_served(complete: Path, engines: Path) -> None:
    file = complete / "tsfd_net/1" / PARITY_DATA
    expected = ParityData.read(file)
    outputs = expected.outputs | {"class_probs": 255 - expected.outputs["class_probs"]}
    file.write_bytes(replace(expected, outputs=outputs).to_bytes())

    assert refusal_to_serve(complete, engines).startswith(
        "There is no engine to serve: The plan built here cannot be served: of "
    )
    assert kept(engines) == []


@pytest.mark.long
def test_a_server_that_finds_other_nuclei_is_never_ready(complete: Path, engines: Path) -> None:
    """As if it served other thresholds than those that were proven."""
    expect(complete / "tsfd_net/1" / PARITY_DATA, min_area=60_000)

    assert refusal_to_serve(complete, engines).startswith(
        "What is served is not what was proven: instances agree to PQ 0.0000 "
    )


@pytest.mark.long
def test_a_server_that_is_stopped_while_it_builds_leaves_nothing_running(
    small: Path, engines: Path
) -> None:
    options = ["--repository", str(small), "--engines", str(engines)]
    with subprocess.Popen([*SERVE, *options], stderr=subprocess.PIPE, cwd=ROOT) as process:
        while b"building a plan" not in process.stderr.readline():
            assert process.poll() is None
        process.terminate()
        assert process.wait(20) == 0

    running = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            running.append(file.read_bytes())
    assert not [words for words in running if str(engines).encode() in words]


@pytest.mark.slow
def test_the_container_has_all_that_a_first_start_needs(
    small: Path, engines: Path, tmp_path: Path
) -> None:
    """By the server's Python, whose packages are the container's, in a folder with its files."""
    image = tmp_path / "image"
    dockerfile = (ROOT / "deploy/Dockerfile").read_text().replace("\\\n", "")
    for words in re.findall(r"^COPY (?!--from)(.+) /opt/tsfd/(\S+)$", dockerfile, re.MULTILINE):
        folder = image / words[1]
        folder.mkdir(parents=True, exist_ok=True)
        for pattern in words[0].split():
            for file in ROOT.glob(pattern):
                shutil.copy(file, folder)
    found = installation.find()
    options = command(small, engines)[1:]

    result = subprocess.run(
        [found.python, *options],
        env=found.environment,
        capture_output=True,
        text=True,
        check=False,
        cwd=image,
    )

    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["source"] == "built"
