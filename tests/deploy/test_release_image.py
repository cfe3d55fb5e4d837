"""The container that fetches a release for the chart's pods: `make image-test`.

As uid 1000 without capabilities, on a root that is read-only, out of a real registry.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from podman import CONFINED, need_image
from registry import new_keys, running

from deploy.image.build import RELEASE_IMAGE
from serving.environment import ROOT

pytestmark = pytest.mark.long

_RUN = ["podman", "run", "--rm", "--network=host", *CONFINED]


def _container(*arguments: str, models: Path, keys: Path) -> subprocess.CompletedProcess[str]:
    volumes = (f"--volume={models}:/models", f"--volume={keys}:/key:ro")
    command = [*_RUN, *volumes, RELEASE_IMAGE, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_fetches_what_is_signed_and_nothing_else(tmp_path: Path) -> None:
    need_image(RELEASE_IMAGE)
    models, other, keys = (tmp_path / name for name in ("models", "other", "keys"))
    for folder in (models, other, keys):
        folder.mkdir()
    for folder in (models, other):  # the pod's, which its group may write to
        folder.chmod(0o777)
    for name in ("release", "other"):
        new_keys(keys, name)
        (keys / f"{name}.pem").chmod(0o644)  # the container signs, too, as another user
    (registry_folder := tmp_path / "registry").mkdir()
    make = [sys.executable, "-m", "deploy.release", "make", "--out", models]
    made = Path(subprocess.run(make, cwd=ROOT, capture_output=True, text=True).stdout.strip())

    with running(registry_folder) as registry:
        name = f"/models/{made.name}"
        where = {"models": models, "keys": keys}
        signed = _container("sign", name, "--key=/key/release.pem", **where)
        assert signed.returncode == 0, signed.stderr
        pushed = _container("push", name, f"{registry.address}/tsfd:1", **where)
        assert pushed.returncode == 0, pushed.stderr
        reference = pushed.stdout.strip()

        where["models"] = other
        fetch = ("fetch", reference, "--to=/models/release")
        refused = _container(*fetch, "--key=/key/other.pub", **where)
        assert refused.returncode == 1
        assert refused.stderr.startswith(f"release: {made.name} is not signed with /key/other.pub")
        assert list(other.iterdir()) == []
        fetched = _container(*fetch, "--key=/key/release.pub", **where)
        assert fetched.returncode == 0, fetched.stderr

    for path in (other / "release/model_repository").rglob("*"):
        if path.is_file():
            served = (
                ROOT / "model_repository" / path.relative_to(other / "release/model_repository")
            )
            assert path.read_bytes() == served.read_bytes()
    assert (other / "release/model_repository/tsfd_net/1/model.onnx").is_file()
