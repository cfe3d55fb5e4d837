"""The compose file, the chart and KServe's objects, without helm; `make manifests` has more."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from programs import need

from serving import server, supervisor
from serving.environment import ROOT

MONITORING = ROOT / "deploy/monitoring"
COMPOSE = ROOT / "deploy/compose/compose.yml"
TEMPLATE = (ROOT / "deploy/gateway/gateway.conf.template").read_text()
CHART = ROOT / "deploy/chart"
KSERVE = ROOT / "deploy/kserve"
LONGEST_END = (
    supervisor._UNTIL_SEEN
    + supervisor._DRAIN
    + server._EXIT_SECONDS
    + 5  # by which Triton's own end may be late
    + server._DYING_SECONDS
)
DEPLOYMENT = (CHART / "templates/deployment.yaml").read_text()
SLEEP = int(re.search(r"sleep: \{ seconds: (\d+) \}", DEPLOYMENT)[1])  # before SIGTERM


def services() -> dict[str, dict]:
    return yaml.safe_load(COMPOSE.read_text())["services"]


def values() -> dict:
    return yaml.safe_load((CHART / "values.yaml").read_text())


def schema() -> dict:
    return json.loads((CHART / "values.schema.json").read_text())


def test_every_image_of_compose_has_a_version_and_no_rights() -> None:
    for name, service in services().items():
        image = service["image"]
        assert image.startswith("${TSFD_IMAGE:?") or re.search(r":v?\d+\.\d+\.\d+", image), name
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_compose_lets_triton_drain(profile: str) -> None:
    service = services()[f"triton-{profile}"]
    assert int(service["stop_grace_period"].removesuffix("s")) > LONGEST_END


def test_what_compose_mounts_exists() -> None:
    for service in services().values():
        for volume in service["volumes"]:
            if volume.startswith("."):
                assert (COMPOSE.parent / volume.split(":")[0]).exists(), volume


def test_compose_s_prometheus_reads_its_files(tmp_path: Path) -> None:
    for volume in services()["prometheus"]["volumes"]:
        here, there, *_ = volume.split(":")
        if there.startswith("/etc"):
            shutil.copy(COMPOSE.parent / here, tmp_path / Path(there).name)
    check = [need("promtool"), "check", "config", str(tmp_path / "prometheus.yml")]
    result = subprocess.run(check, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "SUCCESS: 2 rule files found" in result.stdout


def test_alertmanager_reads_the_example() -> None:
    check = [need("amtool"), "check-config", str(MONITORING / "alertmanager.yml")]
    result = subprocess.run(check, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_whom_alerts_wake_is_the_user_s_to_say() -> None:
    """No address that would be Alertmanager's own container stands in its place."""
    config = services()["alertmanager"]["volumes"][0]
    assert config.startswith("${TSFD_ALERTMANAGER:?")
    assert config.endswith(":/etc/alertmanager/alertmanager.yml:ro")


def test_compose_s_gateway_is_told_everything() -> None:
    """By its environment and gateway.envsh, which nginx's image reads if it is executable."""
    gateway = services()["gateway"]
    script = COMPOSE.parent / "gateway.envsh"
    assert script.stat().st_mode & 0o111 == 0o111
    wanted = {*re.findall(r"\$\{(GATEWAY_\w+)\}", TEMPLATE)}
    given = {name for name in gateway["environment"] if name.startswith("GATEWAY_")}
    exported = re.search(r"^export (.+)$", script.read_text(), re.MULTILINE)[1]
    assert wanted == given | set(exported.split())
    assert all(map(re.compile(gateway["environment"]["NGINX_ENVSUBST_FILTER"]).search, wanted))
    secrets = {f"/run/secrets/{name}" for name in gateway["secrets"]}
    files = {value for value in gateway["environment"].values() if value.startswith("/run/")}
    assert secrets == files | {*re.findall(r"/run/\S+(?=\))", script.read_text())}


def test_chart_lets_triton_drain() -> None:
    least = schema()["properties"]["gracePeriodSeconds"]["minimum"]
    assert values()["gracePeriodSeconds"] >= least > SLEEP + LONGEST_END


def test_chart_probes_the_health() -> None:
    serve = (ROOT / "serving/__main__.py").read_text()
    port = re.search(r'\("health", (\d+)\)', serve)[1]
    probed = re.findall(r"httpGet: \{ path: (\S+), port: (\d+) \}", DEPLOYMENT)
    assert probed == [("/health", port)] * 2
    assert "livenessProbe" not in DEPLOYMENT


def described(schema: dict, value: object, path: str = "") -> Iterator[str]:
    """Dotted names of the values that a schema describes, and the same section has."""
    if "properties" not in schema:
        yield path
        return
    assert schema["additionalProperties"] is False
    assert list(value) == schema["required"] == list(schema["properties"])
    for name, part in schema["properties"].items():
        yield from described(part, value[name], f"{path}.{name}".lstrip("."))


def test_every_value_is_in_schema_and_readme() -> None:
    cells = re.findall(r"^\| (`[^|]+) \|", (CHART / "README.md").read_text(), re.MULTILINE)
    names = [name for cell in cells for name in re.findall(r"`([\w.]+)`", cell)]
    assert names == [*described(schema(), values())]


def test_nothing_is_latest() -> None:
    manifests = [COMPOSE, *CHART.rglob("*.yaml"), *KSERVE.glob("*.yaml")]
    for path in manifests:
        assert ":latest" not in path.read_text()
        for image in re.findall(r"^ *-? *image: (\S+/\S+)", path.read_text(), re.MULTILINE):
            assert ":" in image.rpartition("/")[2], image


def test_kserve_s_service_wants_the_runtime() -> None:
    runtime, service = (
        yaml.safe_load((KSERVE / f"{name}.yaml").read_text())
        for name in ("serving-runtime", "inference-service")
    )
    predictor = service["spec"]["predictor"]
    assert predictor["terminationGracePeriodSeconds"] > SLEEP + LONGEST_END
    model = predictor["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    (known,) = runtime["spec"]["supportedModelFormats"]
    assert model["modelFormat"].items() <= known.items()
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]


def test_kserve_opens_nothing_to_outside() -> None:
    service = yaml.safe_load((KSERVE / "inference-service.yaml").read_text())
    assert service["metadata"]["labels"] == {"networking.kserve.io/visibility": "cluster-local"}
