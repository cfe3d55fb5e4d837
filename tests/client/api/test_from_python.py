"""Images and slides from Python: from scripts, threads and event loops, and what they leave."""

from __future__ import annotations

import asyncio
import re
import signal
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import geopandas
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import tsfd_client
from samples.synthetic import generate
from serving.server import TritonServer
from tsfd_client import (
    Client,
    ImageError,
    OutputError,
    Result,
    ServerUnavailableError,
    Settings,
    TsfdError,
    open_result,
    read_image,
    segment_image,
    segment_images,
)
from tsfd_client.slides.status import status_of

FIELD = generate(300, 420, nuclei=60, seed=0).image


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of two pictures and a damaged one."""
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(FIELD).save(folder / "a.png")
    (folder / "b.png").write_text("damaged")
    Image.fromarray(FIELD[::-1]).save(folder / "c.png")
    return folder


def test_one_image(
    server: TritonServer, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[tuple[int, int]] = []
    options = {"mpp": 0.25, "settings": Settings(min_area=40)}
    result = segment_image(
        *(images / "a.png", tmp_path / "out", server.grpc_url),
        **options,
        progress=lambda *tiles: done.append(tiles),
    )

    with Client(server.grpc_url) as client:
        nuclei = client.segment(FIELD, settings=options["settings"])
    assert result.table().equals(nuclei.table())
    assert result.counts() == nuclei.counts()
    assert (result.release, result.settings, result.mpp) == (
        nuclei.release,
        nuclei.release.settings,
        0.25,
    )
    assert result.settings.min_area == 40
    assert done[-1] == (4, 4)
    assert done == sorted(done)
    named = ", ".join(f"{n} {name}" for name, n in nuclei.counts().items() if n)
    assert repr(result) == f"<Result a: {named}>"
    assert repr(nuclei) == f"<Nuclei: {named}; 420 x 300 pixels at 0.25 µm>"
    # It is done: nothing is asked of the server.
    again = segment_image(images / "a.png", tmp_path / "out", server.grpc_url, **options)
    assert len(again) == len(result) == len(nuclei) > 30
    assert capsys.readouterr() == ("", "")


# ome-zarr uses a class of its own that it has deprecated, anndata an option of pandas.
@pytest.mark.filterwarnings("ignore:Call to deprecated class Scaler:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The 'mode.chained_assignment' option is deprecated")
def test_other_libraries(server: TritonServer, images: Path, tmp_path: Path) -> None:
    result = segment_image(images / "a.png", tmp_path, server.grpc_url, mpp=0.25)

    frame = result.geodataframe()
    assert isinstance(frame, geopandas.GeoDataFrame)
    np.testing.assert_allclose(frame.area * 0.25**2, frame.area_um2, rtol=1e-6)
    table = result.anndata()
    assert table.obs_names.tolist() == [str(number) for number in result.table()["id"].to_pylist()]
    assert table.obs["class"].tolist() == result.table()["class"].to_pylist()
    data = result.spatialdata()
    assert len(data.shapes["nuclei"]) == len(data.tables["table"]) == len(result)
    assert data.shapes["nuclei"].geometry.area.tolist() == frame.area.tolist()


def test_several_images(server: TritonServer, images: Path, tmp_path: Path) -> None:
    outcomes = dict(segment_images([images], tmp_path / "out", server.grpc_url, mpp=0.25))

    assert list(outcomes) == [images / name for name in ("a.png", "b.png", "c.png")]
    a, b, c = outcomes.values()
    assert isinstance(a, Result)
    assert isinstance(c, Result)
    assert isinstance(b, ImageError)
    assert open_result(tmp_path / "out" / "c").table().equals(c.table())


def test_where_an_event_loop_runs(server: TritonServer, images: Path, tmp_path: Path) -> None:
    async def cell() -> Result:
        return segment_image(images / "a.png", tmp_path / "cell", server.grpc_url, mpp=0.25)

    async def both() -> list[Result]:
        options = {"mpp": 0.25}
        return await asyncio.gather(
            *(
                asyncio.to_thread(
                    segment_image, images / name, tmp_path / "both", server.grpc_url, **options
                )
                for name in ("a.png", "c.png")
            )
        )

    one = asyncio.run(cell())
    a, c = asyncio.run(both())
    assert a.table().equals(one.table())
    assert len(c) > 30


def test_from_a_thread(server: TritonServer, images: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as thread:
        arguments = (images / "a.png", tmp_path, server.grpc_url)
        assert len(thread.submit(segment_image, *arguments, mpp=0.25).result()) > 30


def test_the_process_stays_as_it_was(server: TritonServer, images: Path, tmp_path: Path) -> None:
    def state() -> tuple[object, ...]:
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        return pa.default_memory_pool().backend_name, list(warnings.filters), handlers

    before = state()
    segment_image(images / "a.png", tmp_path, server.grpc_url, mpp=0.25)
    assert state() == before


def test_threads_leave_the_warnings_as_they_were(images: Path) -> None:
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(read_image, [images / "a.png", images / "c.png"] * 20))
    assert list(warnings.filters) == before


def test_a_scale_that_is_assumed_is_told(
    server: TritonServer, images: Path, tmp_path: Path
) -> None:
    with pytest.warns(UserWarning, match=r"a\.png does not say its scale; 0\.25 µm per pixel"):
        segment_image(str(images / "a.png"), str(tmp_path), server.grpc_url)


def test_an_image_without_nuclei(server: TritonServer, tmp_path: Path) -> None:
    Image.fromarray(np.full((300, 300, 3), 244, np.uint8)).save(tmp_path / "white.png")
    with pytest.warns(UserWarning, match="No nuclei were found"):
        result = segment_image(tmp_path / "white.png", tmp_path, server.grpc_url, mpp=0.25)
    assert result
    assert (len(result), len(result.table()), len(result.geodataframe())) == (0, 0, 0)
    assert repr(result) == "<Result white: no nuclei>"
    with Client(server.grpc_url) as client:
        found = client.segment(FIELD, tissue=np.zeros((3, 4)))
    assert len(found) == len(found.table()) == 0


def test_a_server_that_is_gone_ends_the_run(repository: Path, images: Path, tmp_path: Path) -> None:
    with TritonServer(repository) as doomed:
        run = segment_images(
            [images / name for name in ("a.png", "c.png", "b.png")],
            *(tmp_path, doomed.grpc_url),
            mpp=0.25,
            retry_for=0.5,
        )
        assert isinstance(next(run)[1], Result)
    (path, outcome), *others = run
    assert path == images / "c.png"
    assert isinstance(outcome, ServerUnavailableError)
    assert others == []


@pytest.mark.parametrize("kind", [ValueError, BrokenPipeError])
@pytest.mark.parametrize("beside", [False, True])
def test_a_report_that_fails_stops_the_run(
    server: TritonServer, images: Path, tmp_path: Path, kind: type[Exception], beside: bool
) -> None:
    def fail(done: int, total: int) -> None:
        raise kind("mine")

    async def cell() -> Result:
        return segment_image(images / "a.png", tmp_path, server.grpc_url, mpp=0.25, progress=fail)

    def script() -> Result:
        return asyncio.run(cell()) if beside else cell().send(None)

    with pytest.raises(RuntimeError if kind is BrokenPipeError else ValueError, match="mine"):
        script()
    assert status_of(tmp_path / "a").state == "stopped"
    assert len(segment_image(images / "a.png", tmp_path, server.grpc_url, mpp=0.25)) > 30


def test_damaged_results(server: TritonServer, images: Path, tmp_path: Path) -> None:
    run = [images / "a.png", images / "c.png"], tmp_path, server.grpc_url
    dict(segment_images(*run, mpp=0.25))
    (tmp_path / "a" / "summary.json").write_text("{}")
    content = (tmp_path / "c" / "nuclei.parquet").read_bytes()
    (tmp_path / "c" / "nuclei.parquet").write_bytes(content[:-100])

    outcomes = list(dict(segment_images(*run, mpp=0.25)).values())
    for outcome, name in zip(outcomes, "ac", strict=True):
        damaged = f"{tmp_path / name} is damaged: remove it and run `tsfd segment` again."
        assert str(outcome) == damaged
        with pytest.raises(OutputError) as error:
            open_result(tmp_path / name)
        assert str(error.value) == damaged


def test_what_cannot_be_opened_or_segmented(images: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError) as error:
        open_result(tmp_path)
    assert str(error.value) == (
        f"{tmp_path} is not the folder of a finished result: it has no nuclei.parquet."
    )
    with pytest.raises(ServerUnavailableError):
        segment_image(images / "a.png", tmp_path, "127.0.0.1:1", mpp=0.25, retry_for=0.0)
    with pytest.raises(ImageError, match="images contains 3 images: use `segment_images`"):
        segment_image(images, tmp_path)
    for options in ({"batch_size": 0}, {"batch_size": 33}, {"max_in_flight": 0}):
        with pytest.raises(ValueError, match="must be 1"):
            segment_image(images / "a.png", tmp_path, **options)


@pytest.mark.parametrize("given", [3, None, FIELD, [3], b"a.png"])
def test_what_is_no_path(given: object, tmp_path: Path) -> None:
    says = "Images are given as paths of files, not as {}: for pixels, use `Client.segment`."
    with pytest.raises(TypeError) as caught:
        segment_image(given, tmp_path)
    assert str(caught.value) == says.format(type(given).__name__)
    with pytest.raises(TypeError, match="Images are given as paths of files, not as"):
        next(segment_images(given, tmp_path))


def test_arguments_of_the_wrong_type(tmp_path: Path) -> None:
    with Client("localhost:1", retry_for=0) as client:
        for ask in (client.segment, client.segment_tiles):
            for given in ("x.png", Path("x.png"), [[0]], None):
                with pytest.raises(TypeError) as caught:
                    ask(given)
                assert str(caught.value) == (
                    f"Pixels must be an array, uint8 [H, W, 3], not {type(given).__name__}: "
                    "read files with `read_image`."
                )
            with pytest.raises(TypeError, match=r"settings must be Settings\(\.\.\.\), not dict"):
                ask(FIELD, settings={"min_area": 3})
    with pytest.raises(TypeError, match="settings must be Settings"):
        segment_image("a.png", tmp_path, settings={"min_area": 3})
    with pytest.raises(TsfdError, match="The server's address must be HOST:PORT"):
        Client(8001)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"timeout": 0}, "timeout must be a number of seconds above 0, not 0."),
        ({"timeout": "60"}, "timeout must be a number of seconds above 0, not '60'."),
        ({"timeout": float("nan")}, "timeout must be a number of seconds above 0, not nan."),
        ({"retry_for": -1}, "retry_for must be a number of seconds of at least 0, not -1."),
        ({"batch_size": "4"}, "batch_size must be 1 to 32, not '4'."),
        ({"max_in_flight": 2.5}, "max_in_flight must be 1 or more, not 2.5."),
    ],
)
def test_numbers_of_a_connection(given: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(says)}$"):
        Client("localhost:1", **given)


def test_a_scale_that_is_no_number(server: TritonServer, images: Path, tmp_path: Path) -> None:
    says = "mpp must be micrometres per pixel between "
    with pytest.raises(ImageError, match=says), Client(server.grpc_url) as client:
        client.segment(FIELD, mpp="0.25")
    with pytest.raises(ImageError, match=says):
        segment_image(images / "a.png", tmp_path, server.grpc_url, mpp="0.25")


def test_the_public_names() -> None:
    assert dir(tsfd_client) == sorted(tsfd_client.__all__)
    for name in tsfd_client.__all__:
        assert getattr(tsfd_client, name) is not None
