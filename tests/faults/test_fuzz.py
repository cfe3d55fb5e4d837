"""Random requests: each is answered or refused as invalid, and never ends a process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from rows import Row
from supervised import Serving
from tritonclient.grpc import service_pb2

from serving.server import TritonServer
from tsfd_client import Client
from tsfd_client.contract import OUTPUTS

MODELS = ("nuclei_segmentation", "tsfd_net", "nuclei_postprocess", "nuclei_features", "nuclei_pool")
METHOD = "/inference.GRPCInferenceService/ModelInfer"
CLEAN = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "unreadable", "timeout"}
OWN_WORDS = {
    "Unable to parse request": "unreadable",  # gRPC's, of what is no message
    "in ensemble 'nuclei_segmentation', Request timeout expired": "timeout",  # the request's own
}
TYPES = (
    "BOOL",
    "UINT8",
    "INT8",
    "UINT16",
    "INT32",
    "INT64",
    "FP16",
    "FP32",
    "FP64",
    "BYTES",
    "BF16",
)
PARAMETERS = (
    *("foreground_threshold", "boundary_threshold", "min_area", "min_confidence"),
    *("sequence_id", "sequence_start", "priority", "timeout", "classification"),
    *("shared_memory_region", "shared_memory_byte_size", "shared_memory_offset"),
    *("triton_enable_empty_final_response", "binary_data_size"),
)

_text = st.text(max_size=20)
_integers = st.integers(-(2**63), 2**63 - 1)
_sides = st.sampled_from([-1, 0, 1, 2, 3, 5, 32, 33, 255, 256, 257, 2**31, 2**63 - 1])


def _usually(usual: str, others: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.integers(0, 9).flatmap(lambda n: others if n == 0 else st.just(usual))


_values = st.one_of(
    st.booleans().map(lambda value: {"bool_param": value}),
    _integers.map(lambda value: {"int64_param": value}),
    st.integers(0, 2**64 - 1).map(lambda value: {"uint64_param": value}),
    st.floats().map(lambda value: {"double_param": value}),
    st.one_of(_text, _integers.map(str), st.floats().map(str), st.sampled_from(["0.5", "{"])).map(
        lambda value: {"string_param": value}
    ),
    st.just({}),
).map(lambda value: service_pb2.InferParameter(**value))
_named = st.dictionaries(st.one_of(st.sampled_from(PARAMETERS), _text), _values, max_size=2)
_parameters = st.one_of(st.just({}), _named)


@st.composite
def _tensors(draw: st.DrawFn) -> service_pb2.ModelInferRequest.InferInputTensor:
    tensor = service_pb2.ModelInferRequest.InferInputTensor(
        name=draw(
            _usually("image", st.one_of(st.sampled_from(["class_probs", "boundary_prob"]), _text))
        ),
        datatype=draw(_usually("UINT8", st.one_of(st.sampled_from(TYPES), _text))),
        shape=draw(st.one_of(st.just([1, 256, 256, 3]), st.lists(_sides, max_size=5))),
    )
    for name, value in draw(_parameters).items():
        tensor.parameters[name].CopyFrom(value)
    typed = draw(st.integers(0, 9))
    if typed == 0:
        tensor.contents.uint_contents.extend(draw(st.lists(st.integers(0, 2**32 - 1), max_size=9)))
    if typed == 1:
        tensor.contents.bytes_contents.extend(draw(st.lists(st.binary(max_size=9), max_size=9)))
    if typed == 2:
        tensor.contents.fp32_contents.extend(draw(st.lists(st.floats(width=32), max_size=9)))
    return tensor


@st.composite
def _requests(draw: st.DrawFn) -> bytes:
    """A request, most of whose parts are as they should be, in bytes."""
    request = service_pb2.ModelInferRequest(
        model_name=draw(_usually(MODELS[0], st.one_of(st.sampled_from(MODELS), _text))),
        model_version=draw(_usually("1", st.one_of(st.just(""), _text))),
        id=draw(_text),
        inputs=draw(
            st.one_of(
                st.lists(_tensors(), min_size=1, max_size=1), st.lists(_tensors(), max_size=3)
            )
        ),
    )
    for name, value in draw(_parameters).items():
        request.parameters[name].CopyFrom(value)
    for _ in range(draw(st.integers(0, 2))):
        output = request.outputs.add(name=draw(st.one_of(st.sampled_from(OUTPUTS), _text)))
        for name, value in draw(_parameters).items():
            output.parameters[name].CopyFrom(value)
    pixels = 256 * 256 * 3
    sizes = st.lists(st.sampled_from([0, 1, 9, pixels - 1, pixels]), max_size=2)
    request.raw_input_contents.extend(map(bytes, draw(st.one_of(st.just([pixels]), sizes))))
    return request.SerializeToString()


def _broken(content: bytes, random: np.random.Generator) -> bytes:
    """A request some of whose bytes are others, and that may end early."""
    changed = np.frombuffer(content, np.uint8).copy()
    before_pixels = min(len(changed), 200)
    places = random.integers(before_pixels, size=random.integers(1, 4))
    changed[places] = random.integers(256, size=len(places))
    end = random.integers(len(changed)) if random.random() < 0.1 else len(changed)
    return changed[:end].tobytes()


def _ask(url: str, requests: int) -> Counter[str]:
    """Send random requests, each with nineteen broken copies; returns how many got which answer."""
    answers: Counter[str] = Counter()

    @settings(
        max_examples=requests // 20,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(_requests(), st.integers(0, 2**32 - 1))
    def send(content: bytes, seed: int) -> None:
        random = np.random.default_rng(seed)
        for sent in (content, *(_broken(content, random) for _ in range(19))):
            try:
                infer(sent, timeout=60)
                answers["OK"] += 1
            except grpc.RpcError as error:
                answers[OWN_WORDS.get(error.details(), error.code().name)] += 1

    with grpc.insecure_channel(url) as channel:
        infer: Callable = channel.unary_unary(METHOD)  # bytes in, bytes out
        send()
    return answers


def test_some_hundreds(server: TritonServer, patches: np.ndarray) -> None:
    with Client(server.grpc_url, retry_for=0) as client:
        (before,) = client.segment_tiles(patches[:1])
        answers = _ask(server.grpc_url, 600)
        (after,) = client.segment_tiles(patches[:1])
    assert answers.keys() <= CLEAN
    assert answers["INVALID_ARGUMENT"] > 100
    np.testing.assert_array_equal(after.instance_map, before.instance_map)
    np.testing.assert_array_equal(after.nuclei, before.nuclei)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_hundred_thousand(serving: Serving, rows: list[Row]) -> None:
    answers = _ask(serving.url, 100_000)
    assert answers.keys() <= CLEAN
    assert serving.restarts() == 0
    assert serving.is_up()
    refused = answers.total() - answers["OK"]
    fault = "100,000 random requests"
    rows.append(Row(fault, "refused as invalid or answered", None, answers["OK"], refused))
