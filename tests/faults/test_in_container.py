"""The container's own command supervises the container's Triton."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from load import Load
from programs import until
from rows import Row
from supervised import Serving

from serving.environment import ROOT, find_environment

_MOUNT = ["unshare", "--mount", "sh", "-c"]


@pytest.mark.long
def test_a_backend_is_killed(repository: Path, patches: np.ndarray, rows: list[Row]) -> None:
    """With the embedded Triton in the place where NVIDIA's image has its own."""
    if subprocess.run([*_MOUNT, "mount -t tmpfs tmpfs /opt"], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    environment = find_environment()
    place = (
        "mount -t tmpfs tmpfs /opt && mkdir /opt/tritonserver && "
        f'mount --bind {environment.triton} /opt/tritonserver && exec "$@"'
    )
    variables = [
        f"PATH={environment.bin}:/usr/bin:/bin",
        f"LD_LIBRARY_PATH={environment.library_directory}:{environment.triton.parents[1]}/"
        "nvidia_pytriton.libs",
        f"NUMBA_CACHE_DIR={environment.path}/numba-cache",
    ]
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    (command,) = re.findall(r"^CMD (\[.*\])$", dockerfile, re.MULTILINE)
    options = [word.replace("/models", str(repository)) for word in json.loads(command)]

    with Serving(options, ["env", *variables, *_MOUNT, place, "sh"]) as serving:
        assert "/opt/tritonserver/bin/tritonserver" in serving.triton().cmdline()
        with Load(serving.url.replace("0.0.0.0", "127.0.0.1"), patches[:4]) as load:
            serving.backend("nuclei_postprocess").kill()
            until(lambda: not serving.is_up())
            until(serving.is_up)
            answered = load.answered
            until(lambda: load.answered > answered)
        serving.process.terminate()
        output, log = serving.process.communicate(timeout=60)
    assert (serving.process.returncode, output) == (0, "")
    assert load.wrong == 0
    assert load.refused == load.failures == []
    assert log.count("Started GRPCInferenceService at 0.0.0.0:") == 2  # Triton's own log
    assert "Other users of this machine" not in log
    fault = "the container's command: a backend is killed"
    rows.append(Row(fault, "restarted; clients ride through", load.gap(), load.answered, 0))
