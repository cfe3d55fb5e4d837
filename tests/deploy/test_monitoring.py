"""Prometheus, its alerts and the dashboard, with the real server behind them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml
from programs import free_port, need, until

from serving.environment import ROOT
from tsfd_client import Client

FOLDER = ROOT / "deploy/monitoring"


def test_rules_and_alerts() -> None:
    result = subprocess.run(
        [need("promtool"), "test", "rules", "rules_test.yml"],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_alert_is_tested_and_has_a_runbook() -> None:
    (group,) = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    tested = (FOLDER / "rules_test.yml").read_text()
    headings = re.findall(r"^### (\w+)$", (FOLDER / "README.md").read_text(), re.MULTILINE)
    names = [rule["alert"] for rule in group["rules"]]
    assert names == headings
    for rule in group["rules"]:
        assert rule["annotations"]["runbook"] == f"README.md#{rule['alert'].lower()}"
        assert f"alertname: {rule['alert']}\n" in tested


class Webhook:
    """Where Alertmanager sends its alerts."""

    def __init__(self) -> None:
        self.alerts: list[dict] = []
        alerts = self.alerts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                alerts.extend(json.loads(body)["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"


@contextmanager
def running(command: list[str], log: Path) -> Iterator[None]:
    with log.open("w") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        try:
            yield
        finally:
            process.terminate()


def faster(name: str, folder: Path, changes: dict[str, str]) -> None:
    """Copy a file of the room with other addresses and shorter times."""
    text = (FOLDER / name).read_text()
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    (folder / name).write_text(text)


@pytest.mark.long
def test_a_dead_backend_is_told_and_every_panel_shows(
    repository: Path, patches: np.ndarray, tmp_path: Path
) -> None:
    """From the killed process through Prometheus and Alertmanager to a webhook."""
    ports = {name: free_port() for name in ("prometheus", "alertmanager")}
    prometheus = f"http://127.0.0.1:{ports['prometheus']}"
    webhook = Webhook()
    threading.Thread(target=webhook.server.serve_forever, daemon=True).start()
    options = [f"--{name}-port=0" for name in ("grpc", "http", "metrics", "health")]
    serve = [sys.executable, "-m", "serving", *options, "--repository", str(repository)]
    with ExitStack() as stack:
        stack.callback(webhook.server.server_close)
        stack.callback(webhook.server.shutdown)
        server = stack.enter_context(
            subprocess.Popen(serve, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        )
        stack.callback(server.terminate)
        ready = server.stdout.readline().decode()
        url = re.search(r"gRPC (\S+)", ready)[1]
        targets = dict(re.findall(r"(metrics|health) http://(\S+)/", ready))
        faster(
            "prometheus.yml",
            tmp_path,
            {
                "127.0.0.1:8002": targets["metrics"],
                "127.0.0.1:8003": targets["health"],
                "127.0.0.1:9093": f"127.0.0.1:{ports['alertmanager']}",
                "15s": "1s",
            },
        )
        faster("rules.yml", tmp_path, {})
        faster("alerts.yml", tmp_path, {"for: 20s": "for: 1s"})
        faster(
            "alertmanager.yml",
            tmp_path,
            {"http://127.0.0.1:9095/": webhook.url, "group_wait: 10s": "group_wait: 0s"},
        )
        place = {name: f"--web.listen-address=127.0.0.1:{port}" for name, port in ports.items()}
        for name, more in (
            ("prometheus", []),
            ("alertmanager", ["--cluster.listen-address="]),
        ):
            binary = need("prometheus-alertmanager" if name == "alertmanager" else name)
            config = f"--config.file={tmp_path / name}.yml"
            storage = "--storage.path=" if name == "alertmanager" else "--storage.tsdb.path="
            command = [binary, config, f"{storage}{tmp_path / 'data' / name}", place[name], *more]
            stack.enter_context(running(command, tmp_path / f"{name}.log"))

        with Client(url) as client:
            queries = {
                target["expr"]
                for panel in json.loads((FOLDER / "dashboard.json").read_text())["panels"]
                for target in panel["targets"]
            }
            values: dict[str, list] = {query: [] for query in queries}

            def ask() -> bool:
                client.segment_tiles(patches[:8])
                for query, before in values.items():
                    if not before:
                        values[query] = now(prometheus, query)
                return all(values.values())

            until(ask)

        (triton,) = psutil.Process(server.pid).children()
        (backend,) = (p for p in triton.children() if "nuclei_postprocess_0_0" in str(p.cmdline()))
        backend.kill()
        until(lambda: "firing" in states(webhook, "TsfdDown"))
        until(lambda: "resolved" in states(webhook, "TsfdDown"), 120)
    assert webhook.alerts[0]["annotations"]["summary"] == "Server a does not answer patches."


def states(webhook: Webhook, name: str) -> set[str]:
    return {alert["status"] for alert in webhook.alerts if alert["labels"]["alertname"] == name}


def now(prometheus: str, query: str) -> list:
    """What a query gives now; nothing while Prometheus starts."""
    url = f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]["result"]
    except OSError:
        return []
