"""Files of a web server, fetched once into the cache, whatever happens meanwhile."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from programs import need, until

from tests.client.remote.web_server import Web, serving
from tsfd_client.errors import DiskFullError, ImageError
from tsfd_client.remote import transfer
from tsfd_client.remote.address import Address, place_of
from tsfd_client.remote.cache import Cache

MIB = 1 << 20
CONTENT = np.random.default_rng(0).bytes(19 * MIB + 5)  # three requests
OTHER = np.random.default_rng(1).bytes(18 * MIB)
LEND = """
import sys, time
from pathlib import Path
from tsfd_client.remote.address import Address
from tsfd_client.remote.cache import Cache
with Cache(Path(sys.argv[1])).lend(Address.parse(sys.argv[2])) as lent:
    print(lent.path, flush=True)
    time.sleep(float(sys.argv[3]))
"""


@pytest.fixture
def web() -> Iterator[Web]:
    with serving(CONTENT) as web:
        yield web


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(transfer, "_PAUSES", (0.05, 0.05, 0.05))
    monkeypatch.setenv("HOME", str(tmp_path))  # whose netrc is none


@pytest.fixture
def fetched(tmp_path: Path) -> Callable[..., bytes]:
    """Fetches a file, and returns its content."""

    def fetch(url: str, cache: Cache = Cache(tmp_path / "cache")) -> bytes:  # noqa: B008
        address = place_of(url)
        assert isinstance(address, Address)
        with cache.lend(address) as lent:
            return lent.path.read_bytes()

    return fetch


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*/*"))


def lend(folder: Path, url: str, seconds: float = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", LEND, str(folder), url, str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_it_is_fetched_once_and_kept(web: Web, fetched: Callable[..., bytes]) -> None:
    assert fetched(web.url()) == CONTENT
    assert fetched(web.url()) == CONTENT
    assert web.sent == len(CONTENT)


def test_what_broke_off_is_taken_up(
    web: Web, fetched: Callable[..., bytes], caplog: pytest.LogCaptureFixture
) -> None:
    web.cuts = [len(CONTENT), 3 * MIB]
    assert fetched(web.url()) == CONTENT
    starts = [int(asked.split("-")[0]) for asked in web.asked]
    assert starts == [0, 8 * MIB, 8 * MIB, 16 * MIB]
    assert len(caplog.messages) == 1
    assert caplog.messages[0].endswith("It is tried again after 8.4 MB.")


def test_a_store_that_gives_up_keeps_what_has_come(web: Web, fetched: Callable[..., bytes]) -> None:
    web.cuts = [len(CONTENT), *[100_000] * 4]
    with pytest.raises(ImageError, match=r"8\.4 MB are kept: the same command goes on from there"):
        fetched(web.url())
    web.asked.clear()
    assert fetched(web.url()) == CONTENT
    assert web.asked[0].startswith(f"{8 * MIB}-")


def test_connections_that_soon_break_off_get_there(web: Web, fetched: Callable[..., bytes]) -> None:
    web.cuts = [3 * MIB] * 12
    assert fetched(web.url()) == CONTENT


def test_what_follows_a_question_mark_tells_files_apart(
    web: Web, fetched: Callable[..., bytes]
) -> None:
    """But for signatures, even if a server says the same of all of them."""
    signed = ("X-Amz-Signature=1&file=b", "X-Amz-Signature=2&file=b", "file=b&se=2030&sig=3")
    for query in ("file=a", "file=b", *signed, "file=b&se=1"):
        assert fetched(web.url(query=query)) == CONTENT
    assert web.sent == 3 * len(CONTENT)


def test_without_ranges_it_begins_anew_and_says_so(
    web: Web, fetched: Callable[..., bytes], caplog: pytest.LogCaptureFixture
) -> None:
    web.ranges, web.cuts = False, [20 * MIB, 10 * MIB]
    assert fetched(web.url()) == CONTENT
    assert f"{web.url()} cannot be taken up in the middle: it begins anew." in caplog.messages
    assert set(web.asked) == {""}


def test_without_ranges_it_gives_up_some_time(web: Web, fetched: Callable[..., bytes]) -> None:
    web.ranges, web.cuts = False, [20 * MIB, *[MIB, 2 * MIB] * 9]
    with pytest.raises(ImageError, match="cannot be fetched"):
        fetched(web.url())
    assert len(web.asked) < 8


def test_of_unknown_size(web: Web, fetched: Callable[..., bytes]) -> None:
    web.says_size, web.cuts = False, [0, 5 * MIB]
    assert fetched(web.url()) == CONTENT


def test_without_anything_that_tells_versions_it_is_not_kept(
    web: Web, fetched: Callable[..., bytes], tmp_path: Path
) -> None:
    web.etag = None
    assert fetched(web.url()) == CONTENT
    assert not any((tmp_path / "cache").iterdir())


def test_what_changes_in_the_middle_is_fetched_anew(
    web: Web, fetched: Callable[..., bytes], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    web.becomes = (OTHER, '"second"')
    assert fetched(web.url()) == OTHER
    assert caplog.messages == [f"{web.url()} has changed on its store: it is fetched anew."]
    assert names(tmp_path / "cache") == ["slide.tif"]


def test_what_changed_while_it_broke_off_is_fetched_anew(
    web: Web, fetched: Callable[..., bytes]
) -> None:
    web.cuts, web.becomes = [len(CONTENT), MIB], None
    web.cuts[1:] = [MIB] * 4
    with pytest.raises(ImageError):
        fetched(web.url())
    web.content, web.etag = OTHER, '"second"'
    assert fetched(web.url()) == OTHER


def test_a_killed_one_is_taken_over(
    web: Web, fetched: Callable[..., bytes], tmp_path: Path
) -> None:
    web.seconds = 0.5
    with lend(tmp_path / "cache", web.url()) as killed:
        until(lambda: len(web.asked) == 2)
        killed.send_signal(signal.SIGKILL)
    web.seconds = 0
    web.asked.clear()
    assert fetched(web.url()) == CONTENT
    assert web.asked[0].startswith(f"{8 * MIB}-")


def test_of_two_at_once_one_fetches(web: Web, tmp_path: Path) -> None:
    web.seconds = 0.3
    with lend(tmp_path / "cache", web.url()) as first, lend(tmp_path / "cache", web.url()) as other:
        paths = {process.communicate()[0] for process in (first, other)}
    assert [first.returncode, other.returncode] == [0, 0]
    assert Path(paths.pop().strip()).read_bytes() == CONTENT
    assert not paths
    assert web.sent == len(CONTENT)


def test_the_least_recently_used_go_and_those_in_use_stay(web: Web, tmp_path: Path) -> None:
    cache = Cache(tmp_path, most=45e6)
    addresses = [Address.parse(web.url(f"{name}.svs")) for name in "abc"]
    for address in (addresses[0], addresses[1], addresses[0]):
        with cache.lend(address):
            time.sleep(0.01)
    with cache.lend(addresses[2]):
        pass
    assert names(tmp_path) == ["a.svs", "c.svs"]
    with lend(tmp_path, web.url("a.svs"), 60) as user:
        assert user.stdout.readline()
        with Cache(tmp_path, most=0).lend(addresses[1]) as lent:
            assert names(tmp_path) == ["a.svs", "b.svs"]
            assert lent.path.read_bytes() == CONTENT
        assert names(tmp_path) == ["a.svs"]
        user.kill()


def test_old_ones_go_and_files_of_others_stay(web: Web, tmp_path: Path) -> None:
    (tmp_path / "notes.lock").touch()
    with Cache(tmp_path).lend(Address.parse(web.url("a.svs"))) as lent:
        pass
    lock = lent.path.parent.with_suffix(".lock")
    week = time.time() - 8 * 24 * 3600
    os.utime(lock, (week, week))
    with Cache(tmp_path).lend(Address.parse(web.url("b.svs"))):
        pass
    assert names(tmp_path) == ["b.svs"]
    assert (tmp_path / "notes.lock").exists()


def test_no_room_is_one_line_and_what_has_come_stays(
    web: Web, fetched: Callable[..., bytes], tmp_path: Path
) -> None:
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({10 * MIB},) * 2)\n"
    limit += "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    command = [sys.executable, "-c", limit + LEND, str(tmp_path / "cache"), web.url(), "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1]
    assert last.endswith(f"DiskFullError: Cannot write into {tmp_path / 'cache'}: File too large.")
    web.asked.clear()
    assert fetched(web.url()) == CONTENT
    assert int(web.asked[0].split("-")[0]) >= 8 * MIB


def test_a_slide_larger_than_the_disk_is_refused_before(
    web: Web, fetched: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=5 * MIB))
    with pytest.raises(DiskFullError, match="make room, or name another folder with --cache"):
        fetched(web.url())
    assert not web.sent


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"status": 404}, "There is no file {url}."),
        ({"status": 403}, "{url} is refused (403): give credentials in the address ("),
        ({"status": 410}, "There is no file {url}."),
        ({"status": 418}, "{url} cannot be fetched: its server answers 418."),
        ({"status": 503}, "{url} cannot be fetched: its server answers 503."),
        ({"user": "ann:sesame"}, "{url} is refused (401): give credentials in the address ("),
    ],
)
def test_what_is_refused_is_one_line(
    web: Web, fetched: Callable[..., bytes], how: dict[str, object], message: str
) -> None:
    for name, value in how.items():
        setattr(web, name, value)
    with pytest.raises(ImageError) as raised:
        fetched(web.url(user="bob:secret", query="X-Amz-Signature=5e5a"))
    assert str(raised.value).startswith(message.format(url=web.url()))
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://nowhere.invalid/a.svs", "There is no host nowhere.invalid to fetch"),
        ("http://127.0.0.1:1/a.svs", "127.0.0.1:1 refuses connections: http://127.0.0.1:1/a.svs"),
        ("gs://bucket/a.svs", "gs://bucket/a.svs needs another package: pip install gcsfs."),
        ("hologram://a/b.svs", "hologram://a/b.svs is of no kind of store that can be read."),
        ("s3://bucket/a.mrxs", "s3://bucket/a.mrxs is nothing without the files beside it"),
        ("s3://key:secret@bucket/a.svs", "An address of s3:// has credentials in it: give them"),
        ("https://host/folder/", "https://host/folder/ is no address of a file."),
        ("https:///a.svs", "An address of https:// cannot be read: write / # ? @ as %2F "),
        ("https://ann:secret/s@host/a.svs", "An address of https:// cannot be read: write / "),
        ("https://ann:secret#s@host/a.svs", "An address of https:// cannot be read: write / "),
        ("https://host/a#secret.svs", "An address of https:// cannot be read: write / # ? @"),
        ("https:/ann:secret@host/a.svs", "An address begins with a scheme and two slashes"),
        ("s3://key:secret/s@bucket/a.svs", "An address of s3:// has credentials in it: give"),
        ("az://a/b.svs?sig=secret", "az://a/b.svs needs another package: pip install adlfs."),
        ("HTTP://127.0.0.1:1/a.svs", "127.0.0.1:1 refuses connections: http://127.0.0.1:1/a.svs"),
        ("http://[::1]:1/a.svs", "An IPv6 address in brackets is not understood: give the host"),
        ("zip://a.svs::https://ann:secret@host/a.zip", "An address with '::' leads into"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_line(
    fetched: Callable[..., bytes], url: str, message: str
) -> None:
    with pytest.raises(ImageError) as raised:
        fetched(url)
    assert str(raised.value).startswith(message)
    assert raised.value.__context__ is None or "secret" not in str(raised.value.__context__)
    assert "secret" not in str(raised.value)


def test_a_certificate_must_be_trusted(fetched: Callable[..., bytes], tmp_path: Path) -> None:
    path = tmp_path / "server.pem"
    command = [need("openssl"), "req", "-x509", "-nodes", "-newkey", "ec", "-days", "2"]
    command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=test"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", path, "-out", path]
    subprocess.run(command, check=True, capture_output=True)
    with (
        serving(CONTENT, certificate=path) as web,
        pytest.raises(ImageError, match=r"^The certificate of 127\.0\.0\.1:\d+ is not trusted"),
    ):
        fetched(web.url())


@pytest.mark.parametrize("where", ["address", "netrc", "signature"])
def test_credentials(
    web: Web,
    fetched: Callable[..., bytes],
    where: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = web.url()
    if where == "signature":
        web.query = "X-Amz-Signature=5e5a&X-Amz-Credential=a%2Fb"
        url = web.url(query=web.query)
    else:
        web.user = "ann:sesame"
    if where == "address":
        url = web.url(user="ann:sesame")
    if where == "netrc":
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login ann password sesame\n")
        monkeypatch.setenv("NETRC", str(netrc))
    assert fetched(url) == CONTENT
    (kept,) = (tmp_path / "cache").glob("*/*")
    assert kept.name == "slide.tif"
