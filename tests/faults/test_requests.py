"""Requests that should not be sent fail alone."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
from load import Load
from rows import Row
from supervised import Serving
from tritonclient.grpc import service_pb2, service_pb2_grpc

_BOMB = 1 << 30


def _request(shape: list[int], content: bytes) -> service_pb2.ModelInferRequest:
    request = service_pb2.ModelInferRequest(model_name="nuclei_segmentation")
    request.inputs.add(name="image", datatype="UINT8", shape=shape)
    request.raw_input_contents.append(content)
    return request


@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "shape", "size", "compression"),
    [
        ("a wrong shape", [1, 128, 128, 3], 128 * 128 * 3, grpc.Compression.NoCompression),
        ("fewer bytes than the shape says", [1, 256, 256, 3], 9, grpc.Compression.NoCompression),
        ("33 patches", [33, 256, 256, 3], 33 * 256 * 256 * 3, grpc.Compression.NoCompression),
        ("1 GB that is 1 MB compressed", [1, 256, 256, 3], _BOMB, grpc.Compression.Gzip),
    ],
)
def test_a_bad_request_fails_alone(
    fault: str,
    shape: list[int],
    size: int,
    compression: grpc.Compression,
    serving: Serving,
    patches: np.ndarray,
    rows: list[Row],
) -> None:
    request = _request(shape, bytes(size))
    options = [("grpc.max_send_message_length", -1)]
    with (
        Load(serving.url, patches[:4]) as load,
        grpc.insecure_channel(serving.url, options, compression) as channel,
    ):
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(request, timeout=60)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert load.wrong == 0
    assert load.failures == load.refused == []
    assert serving.restarts() == 0
    outcome = "INVALID_ARGUMENT, the others are answered"
    rows.append(Row(f"a request of {fault}", outcome, None, load.answered, 1))
