"""Programs of Debian that tests run beside the project's own."""

from __future__ import annotations

import shutil

import pytest

PACKAGES = {
    "amtool": "prometheus-alertmanager",
    "chromium": "chromium",
    "docker-registry": "docker-registry",
    "envsubst": "gettext-base",
    "haproxy": "haproxy",
    "nginx": "nginx",
    "openssl": "openssl",
    "prometheus": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "promtool": "prometheus",
}


def need(program: str) -> str:
    """The path of a program; skips the test where it is not installed, which `.ci/run` does."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin")
    if path is None:
        pytest.skip(f"{program} is missing: apt-get install {PACKAGES[program]}")
    return path
