"""The page's server: what it gives, to whom, and what it says of results that it cannot show."""

from __future__ import annotations

import ctypes
import json
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import uvicorn

from tests.client.export.run_folder import NUCLEI, finished
from tests.client.slide_files import write_tiff
from training.target import CLASSES
from tsfd_client.errors import OutputError
from tsfd_client.nuclei.table import Writer, read_info
from tsfd_client.pixels.in_memory import InMemory
from tsfd_client.pixels.opening import open_image
from tsfd_client.pixels.origin import Origin
from tsfd_client.pixels.scale import Scale
from tsfd_client.pixels.slide import Slide
from tsfd_client.release import Release
from tsfd_client.settings import Settings
from tsfd_client.slides.lock import Lock
from tsfd_client.view.app import application
from tsfd_client.view.results import Result, Results, find

SIDE = 320
TOKEN = "sesame"
BLOCK = '{"time": 1, "event": "block", "name": "0"}'


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder with one result whose image is known."""
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 256, (20, 20, 3), np.uint8), (SIDE, SIDE))
    cv2.imwrite(str(tmp_path / "image.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    folder = tmp_path / "results"
    (folder / "known").mkdir(parents=True)
    finished(folder / "known", 1.0)
    path = tmp_path / "image.png"
    slide = Slide(path, InMemory(image, Scale(0.25), path), 0.25)
    Origin(str(path), slide.fingerprint(), 0.25).write(folder / "known")
    return folder


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The page's address, without a slash at its end."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        host = f"127.0.0.1:{listening.getsockname()[1]}"
        results = Results(folder)
        app = application(results, TOKEN, {host})
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield f"http://{host}"
        finally:
            server.should_exit = True
            thread.join()
            results.close()


@dataclass(frozen=True)
class Answer:
    """What a server answers; the names of headers are in lower case."""

    status: int
    content: bytes
    headers: dict[str, str]


def get(url: str, **headers: str) -> tuple[int, bytes]:
    answer = ask(url, **headers)
    return answer.status, answer.content


def put(url: str, content: bytes, method: str = "PUT", **headers: str) -> tuple[int, bytes]:
    answer = ask(url, content, method, **headers)
    return answer.status, answer.content


def ask(url: str, content: bytes | None = None, method: str = "GET", **headers: str) -> Answer:
    """Send a request, with the cookie of `serving` unless told otherwise."""
    request = urllib.request.Request(url, content, method=method)
    request.add_header("Cookie", f"tsfd-{request.host.split(':')[1]}={TOKEN}")
    for name, value in headers.items():
        request.add_header(name, value)
    try:
        answer = urllib.request.urlopen(request)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        known = {name.lower(): value for name, value in answer.headers.items()}
        return Answer(answer.status, answer.read(), known)


def test_the_list_the_page_and_a_result(results: Path) -> None:
    with serving(results) as url:
        ((known,), use, _) = json.loads(get(f"{url}/data/results.json")[1]).values()
        view = json.loads(get(f"{url}/data/known/view.json")[1])
        status, page = get(f"{url}/")
        script = get(f"{url}/page/view.js")[0]
        points = get(f"{url}/data/known/nuclei.bin")[1]
        part = get(f"{url}/data/known/nuclei.pmtiles", Range="bytes=0-6")
    assert (known["name"], known["nuclei"]) == ("known", len(NUCLEI))
    assert use == view["use"] == "research use, not for diagnosis"
    assert (status, script) == (200, 200)
    assert b"view.js" in page
    assert (view["width"], view["mpp"], view["pixels"]) == (SIDE, 0.25, "tiles")
    assert [kind["name"] for kind in view["classes"]] == list(CLASSES[1:])
    classes = np.frombuffer(points, np.uint8)[10 * len(NUCLEI) : 11 * len(NUCLEI)]
    assert classes.tolist() == [nucleus.nucleus_class for nucleus in NUCLEI]
    assert part == (206, b"PMTiles")


def test_the_served_release_is_known(results: Path, repository: Path) -> None:
    served = json.loads((repository / "nuclei_postprocess/1/release.json").read_text())
    table = results / "known/nuclei.parquet"
    release = Release.from_dict(served).with_settings(Settings(min_area=30))
    info = replace(read_info(table), release=release)
    nuclei = pq.read_table(table)
    with Writer(table, info) as writer:
        writer.write(nuclei)
    view = Result(results / "known").view()
    assert view["settings"] == served["parameters"] | {"min_area": 30}
    assert all(0 <= kind["f1"] <= 1 for kind in view["classes"])


def test_tiles_are_the_image(results: Path) -> None:
    image = cv2.imread(str(results.parent / "image.png"))
    with serving(results) as url:
        status, content = get(f"{url}/data/known/tiles/0/0/0.jpg")
        outside = get(f"{url}/data/known/tiles/0/1/0.jpg")
    tile = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert (status, tile.shape, outside[0]) == (200, (512, 512, 3), 204)
    assert np.abs(tile[:SIDE, :SIDE].astype(int) - image).mean() < 3
    assert tile[SIDE + 8 :].min() > 250


@pytest.mark.parametrize(
    "path",
    [
        "/data/../known/view.json",
        "/data/unknown/view.json",
        "/data/known/run.json",
        "/data/known/..%2F..%2Fimage.png",
        "/page/../app.py",
        "/page/..%2Fapp.py",
        "/page/%2e%2e/app.py",
    ],
)
def test_nothing_else_is_served(results: Path, path: str) -> None:
    with serving(results) as url:
        assert get(url + path)[0] == 404


def test_who_lacks_the_token_sees_nothing(results: Path) -> None:
    with serving(results) as url:
        for path in ("/", "/data/results.json", "/page/view.js", "/?token=wrong"):
            assert get(url + path, Cookie="")[0] == 403
        assert get(f"{url}/", Cookie=f"tsfd={TOKEN}")[0] == 403
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        with opener.open(f"{url}/?token={TOKEN}") as answer:
            assert (answer.status, answer.url) == (200, f"{url}/")
            assert "script-src 'self'" in answer.headers["content-security-policy"]
            assert "unsafe" not in answer.headers["content-security-policy"].split("style-src")[0]


def test_other_hosts_are_refused(results: Path) -> None:
    """As a page elsewhere would send whose name has come to mean this machine."""
    with serving(results) as url:
        assert get(f"{url}/", Host="evil.example")[0] == 421


def test_an_image_that_moved_or_changed_is_told(results: Path) -> None:
    image = results.parent / "image.png"
    content = image.read_bytes()
    cv2.imwrite(str(image), np.zeros((SIDE, SIDE, 3), np.uint8))
    with serving(results) as url:
        changed = json.loads(get(f"{url}/data/known/view.json")[1])
    image.unlink()
    with serving(results) as url:
        moved = json.loads(get(f"{url}/data/known/view.json")[1])
        tile = get(f"{url}/data/known/tiles/0/0/0.jpg")
    image.write_bytes(content)
    assert changed["problem"] == f"{image} is not the image that was segmented."
    assert moved["problem"] == f"The image has been moved or deleted: {image} does not exist."
    assert changed["pixels"] is moved["pixels"] is None
    assert tile == (409, moved["problem"].encode())


def test_broken_and_unfinished_results_are_told(results: Path) -> None:
    for name in ("broken", "unfinished"):
        (results / name).mkdir()
        (results / name / "events.jsonl").touch()
    (results / "broken/DONE").touch()
    (results / "broken/nuclei.parquet").write_bytes(b"nothing")
    with serving(results) as url:
        entries = {e["name"]: e for e in json.loads(get(f"{url}/data/results.json")[1])["results"]}
        view = get(f"{url}/data/broken/view.json")
    broken = f"{results}/broken is damaged: remove it and run `tsfd segment` again."
    assert entries["broken"] == {"name": "broken", "state": "damaged", "problem": broken}
    assert entries["unfinished"]["problem"] == (
        "unfinished is not finished: it is stopped. Run the same command again: it goes on."
    )
    assert view == (409, broken.encode())


def test_a_run_in_progress_is_told(results: Path) -> None:
    run = results / "begun"
    run.mkdir()
    (run / "events.jsonl").write_text(
        '{"time": 1, "event": "begun", "tiles": 4, "tiles_done": 1, "mm2": 0.1}\n'
    )
    with Lock(run / "lock"), serving(results) as url:
        listed = json.loads(get(f"{url}/data/results.json")[1])["results"]
        view = get(f"{url}/data/begun/view.json")
    told = "begun is not finished: it is running, 1 of 4 tiles are done."
    assert {"name": "begun", "state": "running", "problem": told} in listed
    assert view == (409, told.encode())


def test_a_result_that_cannot_be_read_hides_no_other(results: Path) -> None:
    """One in a folder that only another user may look into, and one whose log is damaged."""
    for name, log in (("log", '{"event": "begun"}\n5\n{"time"'), ("block", BLOCK), ("closed", "")):
        (results / name).mkdir()
        (results / name / "events.jsonl").write_text(log)
    (results / "closed").chmod(0)
    program = (
        "import sys; from pathlib import Path; from tsfd_client.view.results import find\n"
        "print(*(f'{one.name} {one.entry()[\"state\"]}' "
        "for one in find(Path(sys.argv[1]))), sep=',')"
    )
    libc = ctypes.CDLL(None)
    try:
        said = subprocess.run(
            [sys.executable, "-c", program, results],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            # Take from a process that root may read everywhere.
            preexec_fn=lambda: [libc.prctl(24, right) for right in (1, 2)],
        ).stdout
    finally:
        (results / "closed").chmod(0o755)
    assert said == "block damaged,known done,log stopped\n"


DAMAGED = {
    "cut off": lambda content: content[:-100],
    "empty": lambda content: b"",
    "another": lambda content: b"<html>503</html>",
    "zeros": lambda content: content[:140] + bytes(20) + content[160:],
}


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *(("nuclei.pmtiles", damage) for damage in DAMAGED),
        *(("nuclei.bin", damage) for damage in ("cut off", "empty", "another")),
        *(("thumbnail.jpg", damage) for damage in ("cut off", "empty", "another")),
    ],
)
def test_what_is_damaged_is_made_again(results: Path, name: str, damage: str) -> None:
    path = results / "known/web" / name
    with serving(results) as url:
        whole = get(f"{url}/data/known/{name}")
        content = path.read_bytes()
        assert whole == (200, content)
        path.write_bytes(DAMAGED[damage](content))
        assert get(f"{url}/data/known/{name}") == whole
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("summary", "warnings"),
    [
        *(({"remarks": odd}, []) for odd in ({"a": 1}, 5, "text", None, [1, {}], float("nan"))),
        *(({"scale_warning": odd}, []) for odd in ({"a": 1}, 5, ["text"], True)),
        *(({"scale_assumed": odd}, []) for odd in ({"a": 1}, 5, "text")),
        *(({"segmented_mm2": odd}, []) for odd in (float("nan"), float("inf"), -1.0, "5")),
        ({"classes": {"neoplastic": {"nuclei": float("inf")}}}, []),
        (
            {"remarks": [5, "It is blurred."], "scale_warning": "Small."},
            ["It is blurred.", "Small."],
        ),
    ],
)
def test_what_makes_no_sense_in_a_summary_counts_as_not_there(
    results: Path, summary: dict[str, object], warnings: list[str]
) -> None:
    (results / "known/summary.json").write_text(json.dumps(summary))
    with serving(results) as url:
        (entry,) = json.loads(get(f"{url}/data/results.json")[1])["results"]
        view = json.loads(get(f"{url}/data/known/view.json")[1])
    assert entry["warnings"] == warnings
    assert view["warning"] == (" ".join(warnings) or None)
    assert entry["mm2"] == view["mm2"]
    assert entry["classes"][0]["nuclei"] == sum(n.nucleus_class == 1 for n in NUCLEI)


def test_only_the_last_few_images_stay_open(tmp_path: Path) -> None:
    image = np.full((SIDE, SIDE, 3), 200, np.uint8)
    for number in range(9):
        path, folder = tmp_path / f"{number}.tif", tmp_path / f"results/{number}"
        write_tiff(path, image, mpp=0.25, shrinks=(1, 2))
        folder.mkdir(parents=True)
        finished(folder, 1.0)
        with open_image(path) as slide:
            Origin(str(path), slide.fingerprint(), 0.25).write(folder)
    with serving(tmp_path / "results") as url:
        for number in range(9):
            assert get(f"{url}/data/{number}/thumbnail.jpg")[0] == 200
            assert get(f"{url}/data/{number}/tiles/0/0/0.jpg")[0] == 200
        opened = [Path(file.path).name for file in psutil.Process().open_files()]
    assert sorted(name for name in opened if name.endswith(".tif")) == [
        *("5.tif", "6.tif", "7.tif", "8.tif")
    ]


def test_no_results(tmp_path: Path) -> None:
    assert find(tmp_path) == []
    with pytest.raises(OutputError, match="There is no folder"):
        find(tmp_path / "nowhere")
