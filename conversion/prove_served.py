"""Prove that a running server finds the recorded patches' nuclei as the SavedModel does.

    python3 -m conversion.prove_served --repository /models --url http://127.0.0.1:8000

`conversion.ensure_engine` proves an engine by itself; this proves all that is served: its batches
and captured graphs, the post-processing and its thresholds. The patches go through the ensemble in
batches of every kind. The result is a line on stderr that begins with ``engine: ``; the exit code
is 1, with one line, if the nuclei differ.

Needs only numpy and the packages of the post-processing.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from conversion.agreement import Agreement
from conversion.errors import ConversionError
from conversion.model_io import INPUT, PARITY_DATA
from conversion.runtimes import ENGINE_BATCHES

if TYPE_CHECKING:
    from conversion.parity_data import ParityData

MODEL: Final = "nuclei_segmentation"
_OUTPUTS: Final = {"instance_map": np.uint16, "nuclei": np.float32, "nuclei_count": np.int32}
_SECONDS: Final = 120  # for a batch; the first of its size may still be prepared


def prove(url: str, expected: ParityData) -> Agreement:
    """Compare what a server finds with what the SavedModel does.

    Parameters
    ----------
    url
        Address of Triton's HTTP endpoint.
    expected
        The patches and the SavedModel's answers.

    Raises
    ------
    ConversionError
        If the server does not answer, or finds other nuclei.
    """
    import instances  # the repository's own

    names = np.array(["background", *expected.served.classes])
    classes = instances.COLUMNS.index("class")
    agreement, patch = Agreement(), 0
    for size in ENGINE_BATCHES:
        chosen = (patch + np.arange(size)) % len(expected.images)
        answer = _ask(url, expected.images[chosen])
        found = zip(*(answer[name] for name in _OUTPUTS), strict=True)
        for number, (instance_map, nuclei, (count,)) in zip(chosen, found, strict=True):
            maps = (expected.outputs[name][number] for name in ("class_probs", "boundary_prob"))
            right = instances.extract(*maps, expected.served.parameters, with_contours=False)
            agreement += Agreement.of(
                right.instance_map,
                names[right.nuclei[:, classes].astype(np.int64)],
                instance_map,
                names[nuclei[:count, classes].astype(np.int64)],
            )
        patch += size
    failures = agreement.lost_classes(expected.tolerance.kept)
    if agreement.panoptic_quality < expected.tolerance.panoptic_quality:
        failures.append(
            f"instances agree to PQ {agreement.panoptic_quality:.4f} (at least "
            f"{expected.tolerance.panoptic_quality} is needed)"
        )
    if failures:
        raise ConversionError(f"What is served is not what was proven: {failures[0]}.")
    return agreement


def _ask(url: str, images: np.ndarray) -> dict[str, np.ndarray]:
    """Send a batch over HTTP in Triton's binary form."""
    sent = images.tobytes()
    image = {
        "name": INPUT,
        "datatype": "UINT8",
        "shape": images.shape,
        "parameters": {"binary_data_size": len(sent)},
    }
    wanted = [{"name": name, "parameters": {"binary_data": True}} for name in _OUTPUTS]
    head = json.dumps({"inputs": [image], "outputs": wanted}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=_SECONDS)
    try:
        connection.request("POST", f"/v2/models/{MODEL}/infer", head + sent, headers)
        answer = connection.getresponse()
        length, body = answer.getheader("Inference-Header-Content-Length"), answer.read()
    except (OSError, http.client.HTTPException) as error:
        reason = error or type(error).__name__
        raise ConversionError(f"The server does not answer the patches ({reason}).") from error
    finally:
        connection.close()
    if answer.status != http.HTTPStatus.OK:
        raise ConversionError(f"The server refuses the patches: {body.decode(errors='replace')}")
    described = {output["name"]: output for output in json.loads(body[: int(length)])["outputs"]}
    arrays, first = {}, int(length)
    for name, output in described.items():
        after = first + output["parameters"]["binary_data_size"]
        values = np.frombuffer(body[first:after], _OUTPUTS[name])
        arrays[name], first = values.reshape(output["shape"]), after
    return arrays


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python3 -m conversion.prove_served",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--url", required=True, help="http://host:port of Triton")
    arguments = parser.parse_args(argv)
    # The recorded answers become nuclei by the post-processing that is served.
    sys.path.insert(0, str(arguments.repository / "nuclei_postprocess" / "1"))
    from conversion.parity_data import ParityData

    try:
        expected = ParityData.read(arguments.repository / "tsfd_net" / "1" / PARITY_DATA)
        found = prove(arguments.url, expected)
    except ConversionError as error:
        print(f"prove_served: {error}", file=sys.stderr)
        return 1
    print(
        f"engine: served: {found.nuclei_found} nuclei against {found.nuclei}, "
        f"PQ {found.panoptic_quality:.4f}: ok",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
