"""The compose file and the chart, without downloads; deploy/validate.py checks them further."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from deploy import server, supervisor
from deploy.setup import ROOT

COMPOSE = ROOT / "deploy/compose/compose.yml"
CHART = ROOT / "deploy/chart"
LONGEST_END = (
    supervisor._UNTIL_SEEN
    + supervisor._DRAIN
    + server._EXIT_SECONDS
    + 5  # by which Triton's own end may be late
    + server._DYING_SECONDS
)


def values() -> dict:
    return yaml.safe_load((CHART / "values.yaml").read_text())


def test_every_image_of_compose_has_a_version_and_no_rights() -> None:
    for name, service in yaml.safe_load(COMPOSE.read_text())["services"].items():
        image = service["image"]
        assert image.startswith("${TSFD_IMAGE:?") or re.search(r":v?\d+\.\d+\.\d+", image), name
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_compose_lets_triton_drain(profile: str) -> None:
    service = yaml.safe_load(COMPOSE.read_text())["services"][f"triton-{profile}"]
    assert int(service["stop_grace_period"].removesuffix("s")) > LONGEST_END


def test_what_compose_mounts_exists() -> None:
    for service in yaml.safe_load(COMPOSE.read_text())["services"].values():
        for volume in service["volumes"]:
            if volume.startswith("."):
                assert (COMPOSE.parent / volume.split(":")[0]).exists(), volume


def test_chart_lets_triton_drain() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    grace = schema["properties"]["gracePeriodSeconds"]
    assert values()["gracePeriodSeconds"] >= grace["minimum"] > LONGEST_END


def test_chart_probes_the_health() -> None:
    serve = (ROOT / "deploy/serve.py").read_text()
    port = re.search(r'\("health", (\d+)\)', serve)[1]
    deployment = (CHART / "templates/deployment.yaml").read_text()
    probed = re.findall(r"httpGet: \{ path: (\S+), port: (\d+) \}", deployment)
    assert probed == [("/health", port)] * 2
    assert "livenessProbe" not in deployment


def assert_described(value: object, schema: dict) -> None:
    if "properties" in schema:
        assert schema["additionalProperties"] is False
        assert set(value) == set(schema["properties"]) == set(schema["required"])
        for name, part in schema["properties"].items():
            assert_described(value[name], part)


def test_schema_describes_the_values() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert "properties" in schema
    assert_described(values(), schema)


def test_nothing_is_latest() -> None:
    assert values()["image"]["tag"] != "latest"
    for path in [COMPOSE, *(CHART / "templates").iterdir()]:
        assert ":latest" not in path.read_text()
