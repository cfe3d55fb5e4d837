"""By what KEDA scales the chart's pods: the wait of a request in the queues of all models."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from programs import need

from serving.environment import ROOT

TEMPLATE = ROOT / "deploy/chart/templates/scaledobject.yaml"
PODS = ("tsfd-5d9c7b6f4-x2x7q", "tsfd-5d9c7b6f4-9zk4d")
OTHERS = ("tsfd-b-7f8c9d5b6-abcde", "b-tsfd-7f8c9d5b6-abcde")  # of other releases


def query() -> str:
    """The chart's, of a release "tsfd"."""
    text = re.search(r"query: >-\n(.*?)\n *threshold:", TEMPLATE.read_text(), re.DOTALL)[1]
    filled = text.replace("{{ .Release.Name }}", "tsfd")
    assert "{{" not in filled
    return " ".join(filled.split())


def series(server: str, seconds: float) -> dict[str, str]:
    """Counters of a pod with 2 requests per second, each of which waits so long, and of canaries.

    Two thirds of it they wait for the network. Every model counts every request.
    """
    counters = {}
    for model, share in (("tsfd_net", 2 / 3), ("nuclei_postprocess", 1 / 3)):
        labels = f'{{model="{model}",server="{server}"}}'
        waits = round(2 * 15 * seconds * 1e6 * share)
        counters[f"nv_inference_queue_duration_us{labels}"] = f"0+{waits}x40"
        counters[f"nv_inference_request_success{labels}"] = "0+30x40"
    labels = f'{{model="nuclei_segmentation",server="{server}"}}'
    counters[f"nv_inference_queue_duration_us{labels}"] = "0+30x40"
    counters[f"nv_inference_request_success{labels}"] = "0+30x40"
    return counters


def tells(query: str, waits: dict[str, float], wanted: float, folder: Path) -> bool:
    """Whether promtool gets a value from a query where the pods' requests wait so long."""
    counters = {
        name: text for pod, wait in waits.items() for name, text in series(pod, wait).items()
    }
    sample = {"labels": "{}", "value": wanted}
    expected = {"expr": f"round({query}, 0.001)", "eval_time": "10m", "exp_samples": [sample]}
    test = {
        "interval": "15s",
        "input_series": [{"series": name, "values": text} for name, text in counters.items()],
        "promql_expr_test": [expected],
    }
    path = folder / "test.yml"
    path.write_text(yaml.safe_dump({"evaluation_interval": "15s", "tests": [test]}))
    command = [need("promtool"), "test", "rules", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "parse" not in result.stderr, result.stderr
    return result.returncode == 0


def test_it_is_what_a_request_waits(tmp_path: Path) -> None:
    """On average over the release's pods, and of no other's."""
    waits = dict.fromkeys(OTHERS, 60.0) | {PODS[0]: 3.0, PODS[1]: 6.0}
    assert tells(query(), waits, 4.5, tmp_path)


@pytest.mark.parametrize("wrong", ['model=~".+",', ""])
def test_requests_of_all_models_would_hide_two_thirds(tmp_path: Path, wrong: str) -> None:
    """As NVIDIA's own charts divide; the test above catches it."""
    theirs = query().replace('model="tsfd_net",', wrong)
    assert theirs != query()
    assert not tells(theirs, {PODS[0]: 3.0}, 3, tmp_path)
    assert tells(theirs, {PODS[0]: 3.0}, 1, tmp_path)


def test_no_figures_are_no_value(tmp_path: Path) -> None:
    """So that KEDA leaves the pods as they are, rather than take a zero for a calm."""
    assert 'ignoreNullValues: "false"' in TEMPLATE.read_text()
    assert not tells(query(), dict.fromkeys(OTHERS, 60.0), 0, tmp_path)
