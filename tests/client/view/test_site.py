"""The page as a folder, shown by a plain web server."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from getpass import getuser
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page
from programs import free_port, need

from tests.client.export.run_folder import finished
from tests.client.view.pages import NAME, drawn, go, set_slider
from tests.client.view.test_view_server import TOKEN, serving
from tsfd_client.cli import main
from tsfd_client.pixels.origin import Origin

NGINX = """
daemon off;
user {user};
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    include /etc/nginx/mime.types;
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}; root {site}; }}
}}
"""


@pytest.fixture
def url(shown: Path, tmp_path: Path) -> Iterator[str]:
    """Where nginx, as Debian has it, shows the site of some results."""
    program = need("nginx")
    one = str(shown / NAME)
    assert main(["export", one, "--to", "site", "--out", str(tmp_path / "site")]) == 0
    port = free_port()
    (tmp_path / "nginx.conf").write_text(
        NGINX.format(user=getuser(), folder=tmp_path, port=port, site=tmp_path / "site")
    )
    command = [program, "-p", tmp_path, "-c", tmp_path / "nginx.conf", "-e", tmp_path / "error.log"]
    with subprocess.Popen(command) as process:
        while not is_listening(port):
            assert process.poll() is None
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def picture(page: Page) -> np.ndarray:
    """What the map shows of the slide alone."""
    set_slider(page, "opacity", 0)
    go(page, 300, 300, 1)
    content = np.frombuffer(page.locator("#map canvas").screenshot(), np.uint8)
    return cv2.imdecode(content, cv2.IMREAD_COLOR).astype(int)


def test_a_site_is_the_page(browser: Browser, shown: Path, url: str) -> None:
    errors: list[str] = []
    page = browser.new_page(viewport={"width": 1000, "height": 700})
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(url)
    page.click(f"text={NAME}")
    drawn(page)
    assert page.locator("#results li").count() == 1
    counted = page.inner_text("#count")
    ours = picture(page)
    page.close()
    with serving(shown) as local:
        page = browser.new_page(viewport={"width": 1000, "height": 700})
        page.goto(f"{local}/?token={TOKEN}")
        page.click(f"text={NAME}")
        drawn(page)
        assert page.inner_text("#count") == counted != "0"
        theirs = picture(page)
        page.close()
    assert errors == []
    assert ours.std() > 20
    assert np.abs(ours - theirs).mean() < 1


def test_what_is_in_a_site(shown: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["export", str(shown), "--to", "site", "--out", str(tmp_path / "site")]
    assert main(command) == 1
    assert capsys.readouterr().err == (
        f"tsfd: {tmp_path}/site was written without these results. {shown}/broken is damaged: "
        "remove it and run `tsfd segment` again.\n"
    )
    files = {str(path.relative_to(tmp_path / "site")) for path in (tmp_path / "site").rglob("*.*")}
    names = "nuclei.bin", "nuclei.pmtiles", "slide.pmtiles", "thumbnail.jpg", "view.json"
    names += ("regions.geojson", "annotations.geojson")
    assert {path for path in files if path.startswith("data/")} == {
        *(f"data/{NAME}/{name}" for name in names),
        "data/results.json",
    }
    assert {"index.html", "page/view.js", "page/vendor/pmtiles.js"} <= files
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").touch()
    assert main([*command[:-1], str(tmp_path / "mine")]) == 1
    assert "mine exists already: remove it" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "mine"), "--to", "site"]) == 1
    assert "There is no finished result in" in capsys.readouterr().err


def test_a_site_names_no_folders(tmp_path: Path) -> None:
    """Neither of an image that has been moved nor of results that were compared."""
    results = tmp_path / "secret/first", tmp_path / "secret/second"
    for folder in results:
        folder.mkdir(parents=True)
        finished(folder, 1.0)
        Origin(str(tmp_path / "secret/slide.svs"), "its content", 0.25).write(folder)
    differs = str(tmp_path / "secret/differs")
    assert main(["compare", *map(str, results), "--out", differs]) == 0
    command = ["export", str(tmp_path / "secret"), "--to", "site"]
    assert main([*command, "--out", str(tmp_path / "site")]) == 0
    texts = [path.read_text() for path in (tmp_path / "site/data").rglob("*json")]
    assert len(texts) == 1 + 3 * 3
    assert not any("secret" in text or str(tmp_path) in text for text in texts)
    view = json.loads((tmp_path / "site/data/first/view.json").read_text())
    assert view["problem"] == "This site was written without the image, made.svs."
    view = json.loads((tmp_path / "site/data/differs/view.json").read_text())
    assert (view["comparison"]["a"], view["comparison"]["b"]) == ("first", "second")
