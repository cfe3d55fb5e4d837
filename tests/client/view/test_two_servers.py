"""Two `tsfd view` on one folder: neither loses what the other keeps."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.client.commands import TSFD
from tests.client.export.run_folder import finished
from tests.client.view.test_view_server import ask, serving
from tsfd_client.files import MARKS, REGIONS

EACH = 100
RING = [[0, 0], [9, 0], [9, 9], [0, 0]]


@pytest.fixture
def result(tmp_path: Path) -> Path:
    (tmp_path / "slide").mkdir()
    return finished(tmp_path / "slide", 1.0)


@pytest.fixture
def addresses(result: Path) -> Iterator[list[tuple[str, str]]]:
    """Of the result at each server, with the cookie that opens it."""
    command = [*TSFD, "view", str(result), "--port=0"]
    servers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    found = []
    for server in servers:
        address = urllib.parse.urlsplit(server.stdout.readline().split()[-1])
        (token,) = urllib.parse.parse_qs(address.query)["token"]
        found.append((f"http://{address.netloc}/data/slide", f"tsfd-{address.port}={token}"))
    yield found
    for server in servers:
        server.terminate()
        server.communicate()


def feature(kind: str, coordinates: object, number: str) -> dict[str, object]:
    return {
        "type": "Feature",
        "id": number,
        "geometry": {"type": kind, "coordinates": coordinates},
        "properties": {"name": number, "classification": {"name": "plasma cell"}},
    }


def test_marks_of_both_are_kept(addresses: list[tuple[str, str]], result: Path) -> None:
    def mark(server: int) -> None:
        url, cookie = addresses[server]
        for number in range(EACH):
            point = feature("Point", [number, server], f"{number} of {server}")
            content = json.dumps({"add": [point], "remove": []}).encode()
            assert ask(f"{url}/{MARKS}", content, method="POST", Cookie=cookie).status == 204

    with ThreadPoolExecutor() as pool:
        list(pool.map(mark, range(2)))
    kept = json.loads((result / MARKS).read_text())["features"]
    assert {each["id"] for each in kept} == {
        f"{number} of {server}" for number in range(EACH) for server in range(2)
    }
    assert len(kept) == 2 * EACH


def test_regions_of_both_are_kept(addresses: list[tuple[str, str]], result: Path) -> None:
    """Each server refuses a change of what the other has replaced meanwhile."""

    def draw(server: int) -> None:
        url, cookie = addresses[server]
        for number in range(EACH // 4):
            status = 412
            while status == 412:
                known = ask(f"{url}/{REGIONS}", Cookie=cookie)
                regions = json.loads(known.content)
                regions["features"].append(feature("Polygon", [RING], f"{number} of {server}"))
                status = ask(
                    f"{url}/{REGIONS}",
                    json.dumps(regions).encode(),
                    method="PUT",
                    **{"Cookie": cookie, "If-Match": known.headers["etag"]},
                ).status
            assert status == 204

    with ThreadPoolExecutor() as pool:
        list(pool.map(draw, range(2)))
    kept = json.loads((result / REGIONS).read_text())["features"]
    assert len(kept) == len({each["id"] for each in kept}) == EACH // 4 * 2


def test_where_no_lock_can_be_made(result: Path) -> None:
    (result / f".{MARKS}.lock").mkdir()
    point = feature("Point", [1, 2], "1")
    with serving(result) as url:
        content = json.dumps({"add": [point], "remove": []}).encode()
        assert ask(f"{url}/data/slide/{MARKS}", content, method="POST").status == 204
    assert json.loads((result / MARKS).read_text())["features"] == [point]
