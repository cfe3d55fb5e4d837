"""Results get classes of one's own, with features that are kept or asked for."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from samples.synthetic import generate
from serving.server import TritonServer
from tests.client.commands import TSFD, answered, outputs
from tests.client.slide_files import write_tiff
from tsfd_client import Client, open_image, open_result, segment_image
from tsfd_client.classes.features import features_of, split
from tsfd_client.classes.head import Head, OwnClass, save
from tsfd_client.classes.relabel import OwnClasses
from tsfd_client.cli import main
from tsfd_client.contract import FEATURES
from tsfd_client.errors import ServerError
from tsfd_client.export import export
from tsfd_client.nuclei.table import read_info
from tsfd_client.pixels.artifacts import Artifact, write_artifacts
from tsfd_client.view.results import Result

NOWHERE = "--server=localhost:1"
CLASSES = (
    OwnClass("plasma", (10, 20, 30), "inflammatory"),
    OwnClass("tumour", (200, 20, 30), "neoplastic"),
    OwnClass("not a nucleus", (90, 90, 90), excluded=True),
    OwnClass("stroma", (0, 250, 30), "connective"),
)


@pytest.fixture(scope="module")
def folder(server: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a slide and of a picture in ``results``."""
    path = tmp_path_factory.mktemp("relabel")
    image = generate(701, 533, nuclei=120, seed=11).image
    write_tiff(path / "slide.tif", image)
    Image.fromarray(image[:300, :400]).save(path / "picture.png")
    images = [str(path / name) for name in ("slide.tif", "picture.png")]
    out = f"--out={path / 'results'}"
    assert main(["segment", *images, out, "--mpp=0.25", f"--server={server.grpc_url}"]) == 0
    return path


@pytest.fixture(scope="module")
def head(server: TritonServer, folder: Path) -> Head:
    """Weights that give nuclei of every class."""
    result = folder / "results/picture"
    release = read_info(result / "nuclei.parquet").release
    network = release.network_classes
    seen = split(_asked(server, result)[0], len(network))
    rng = np.random.default_rng(4)
    random = Head(
        classes=CLASSES,
        weights=rng.normal(0, 0.15, (seen.features.shape[1], len(CLASSES))).astype(np.float32),
        mix=np.zeros((len(network), len(CLASSES)), np.float32),
        bias=np.zeros(len(CLASSES), np.float32),
        network_classes=network,
        base=release.name,
        weights_sha256=release.digests["weights_sha256"],
    )
    likely = np.log(random.predict(seen.features, seen.shares)).mean(axis=0)
    return replace(random, bias=-likely.astype(np.float32))


@pytest.fixture(scope="module")
def classes(folder: Path, head: Head) -> Path:
    save(head, folder / "mine.npz")
    return folder / "mine.npz"


def _asked(server: TritonServer, result: Path) -> tuple[np.ndarray, np.ndarray]:
    """Features in the order of ids, float16 [n, D], and ids."""
    path = result.parent.parent / ("slide.tif" if result.name == "slide" else "picture.png")
    with Client(server.grpc_url) as client, open_image(path, 0.25) as slide:
        ids, features = zip(*features_of(result, slide.at(0.25), client), strict=True)
    order = np.argsort(np.concatenate(ids))
    return np.concatenate(features)[order], np.concatenate(ids)[order]


def _files(folder: Path) -> dict[str, bytes]:
    """All that must be the same: not where and when."""
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if path.name != "events.jsonl"
    }


def _relabel(result: Path, classes: Path, out: Path, server: str = NOWHERE) -> int:
    return main(["relabel", str(result), f"--classes={classes}", f"--out={out}", server])


def _keep(folder: Path, out: Path, server: TritonServer) -> Path:
    """Copy the slide's result and keep its features."""
    shutil.copytree(folder / "results/slide", out / "slide")
    command = ["segment", str(folder / "slide.tif"), f"--out={out}", "--mpp=0.25"]
    assert main([*command, "--keep-features", f"--server={server.grpc_url}"]) == 0
    return out / "slide"


@pytest.mark.parametrize("name", ["slide", "picture"])
def test_every_nucleus_has_the_class_that_the_head_gives_it(
    server: TritonServer,
    folder: Path,
    classes: Path,
    head: Head,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    result = folder / "results" / name
    before = _files(result)
    command = ["relabel", str(result), f"--classes={classes}"]
    assert main([*command, f"--server={server.grpc_url}"]) == 0
    told = capsys.readouterr().out

    assert _files(result) == before
    digits = OwnClasses.read(classes).digits
    new = folder / "results" / f"{name}-mine-{digits}"
    assert {*_files(new)} == {*before}
    old, table = (pq.read_table(path / "nuclei.parquet") for path in (result, new))
    features, _ = _asked(server, result)
    seen = split(features, len(head.network_classes))
    probs = head.predict(seen.features, seen.shares)
    labels = probs.argmax(axis=1)
    kept = labels != 2
    assert set(labels) == {0, 1, 2, 3}
    assert table["class"].to_pylist() == [head.names[label] for label in labels[kept]]
    np.testing.assert_allclose(table["class_prob"], probs.max(axis=1)[kept], rtol=1e-6)
    assert table["geometry"].to_pylist() == old.filter(kept)["geometry"].to_pylist()
    assert table["id"].to_pylist() == list(range(1, kept.sum() + 1))

    release, was = (read_info(path / "nuclei.parquet").release for path in (new, result))
    assert release.name == f"{was.name}+classes-{digits}"
    assert release.colours == {kind.name: kind.colour for kind in CLASSES if not kind.excluded}
    assert release.settings == was.settings
    counts = open_result(new).counts()
    assert counts == {k: int(np.sum(labels == n)) for n, k in enumerate(head.names) if n != 2}
    summaries = [json.loads((path / "summary.json").read_text()) for path in (result, new)]
    assert summaries[1]["segmented_mm2"] == summaries[0]["segmented_mm2"]
    assert summaries[1]["scale_warning"] == summaries[0]["scale_warning"]
    named = ", ".join(f"{n} {kind}" for kind, n in counts.items())
    expected = f"{result}: {kept.sum()} nuclei ({named}, {np.sum(~kept)} left out) in {new}, "
    assert told.startswith(expected)

    # What else works on results works on this one.
    assert main(["status", str(new)]) == 0
    assert f"done     {kept.sum()} nuclei" in capsys.readouterr().out
    assert main(["compare", str(result), str(new)]) == 0
    assert "neoplastic -> tumour" in capsys.readouterr().out
    shown = Result(new)
    assert shown.entry()["state"] == "done"
    assert shown.view()["pixels"] == "tiles"
    assert {kind["f1"] for kind in shown.view()["classes"]} == {None}
    shown.close()
    assert (
        export(new, "csv", folder / f"{name}.csv").read_text().count("plasma") == counts["plasma"]
    )

    # Again: nothing is done.
    assert main([*command, NOWHERE]) == 0


def test_kept_features_give_the_same_and_need_no_server(
    server: TritonServer, folder: Path, classes: Path, tmp_path: Path
) -> None:
    asked = folder / "results/slide"
    assert _relabel(asked, classes, tmp_path / "asked", f"--server={server.grpc_url}") == 0
    kept = _keep(folder, tmp_path, server)
    assert _relabel(kept, classes, tmp_path / "kept") == 0
    assert _files(tmp_path / "kept/slide") == _files(tmp_path / "asked/slide")

    parts = {path.name: path.read_bytes() for path in (kept / "features").iterdir()}
    assert {*parts} == {"info.json", *(f"0000{row}.parquet" for row in range(3))}
    info = json.loads(parts["info.json"])
    release = read_info(kept / "nuclei.parquet").release
    assert info["weights_sha256"] == release.digests["weights_sha256"]

    # What is missing is asked for, and nothing else.
    for name in ("info.json", "00002.parquet"):
        (kept / "features" / name).unlink()
    (kept / "features/.partial.01234567").write_bytes(b"cut off")
    command = ["segment", str(folder / "slide.tif"), f"--out={tmp_path}", "--mpp=0.25"]
    before = answered(server, FEATURES)
    assert main([*command, "--keep-features", f"--server={server.grpc_url}"]) == 0
    assert answered(server, FEATURES) == before + 3  # a row of tiles
    again = {path.name: path.read_bytes() for path in (kept / "features").iterdir()}
    assert again == parts


def test_marks_and_regions_come_along(
    server: TritonServer, folder: Path, classes: Path, tmp_path: Path
) -> None:
    """As places on the slide; what the new result has already stays."""
    old = Path(shutil.copytree(folder / "results/picture", tmp_path / "results/picture"))
    said = {"annotations.geojson": b'{"features": []}', "regions.geojson": b"even damaged"}
    for name, content in said.items():
        (old / name).write_bytes(content)
    (old / "regions.csv").write_text("counts of other classes")
    new = tmp_path / "new/picture"
    assert _relabel(old, classes, new.parent, f"--server={server.grpc_url}") == 0
    assert {name: (new / name).read_bytes() for name in said} == said

    assert not (new / "regions.csv").exists()

    (new / "DONE").unlink()
    (new / "annotations.geojson").write_bytes(b"marked since")
    (new / "regions.csv").write_text("counts of earlier nuclei")
    assert _relabel(old, classes, new.parent, f"--server={server.grpc_url}") == 0
    assert (new / "annotations.geojson").read_bytes() == b"marked since"
    assert not (new / "regions.csv").exists()

    # Whoever has gone on with an earlier result finds what was marked there last.
    shutil.copytree(new, old.with_name("earlier"))
    shutil.copytree(folder / "results/slide", old.with_name("slide"))
    (old.parent / "slide/annotations.geojson").write_bytes(b"of another image")
    last = tmp_path / "last/picture"
    assert _relabel(old, classes, last.parent, f"--server={server.grpc_url}") == 0
    assert (last / "annotations.geojson").read_bytes() == b"marked since"


def test_artifacts_come_along(
    server: TritonServer, folder: Path, classes: Path, tmp_path: Path
) -> None:
    old = Path(shutil.copytree(folder / "results/slide", tmp_path / "results/slide"))
    mask = np.zeros((22, 17), bool)
    mask[3:9, 2:12] = True
    write_artifacts(old / "artifacts.geojson", [Artifact("pen", mask, is_left_out=True)], 701, 533)
    mm2 = round(float(mask.mean()) * 701 * 533 * 0.25**2 / 1e6, 4)
    known = {"artifacts": {"pen": mm2, "blur": 0.0}, "left_out": ["pen"]}
    summary = json.loads((old / "summary.json").read_text()) | known
    (old / "summary.json").write_text(json.dumps(summary))
    new = tmp_path / "new/slide"
    assert _relabel(old, classes, new.parent, f"--server={server.grpc_url}") == 0

    summary = json.loads((new / "summary.json").read_text())
    assert {name: summary[name] for name in known} == known
    outlines = [(path / "artifacts.geojson").read_bytes() for path in (old, new)]
    assert outlines[0] == outlines[1]


def test_features_are_exported(server: TritonServer, folder: Path, tmp_path: Path) -> None:
    result = segment_image(
        *(folder / "picture.png", tmp_path, server.grpc_url), mpp=0.25, keep_features=True
    )
    features, _ = _asked(server, folder / "results/picture")
    tables = [
        result.anndata(),
        anndata.read_h5ad(export(result.folder, "anndata")),
        anndata.read_zarr(export(result.folder, "spatialdata") / "tables/table"),
    ]
    for table in tables:
        assert table.obsm["X_tsfd"].dtype == np.float32
        np.testing.assert_array_equal(table.obsm["X_tsfd"], features)
    assert "X_tsfd" not in open_result(folder / "results/picture").anndata().obsm


def test_it_resumes_where_it_was_stopped(
    server: TritonServer, folder: Path, classes: Path, tmp_path: Path
) -> None:
    slide, before = folder / "results/slide", answered(server, FEATURES)
    assert _relabel(slide, classes, tmp_path / "whole", f"--server={server.grpc_url}") == 0
    tiles = answered(server, FEATURES) - before
    new = tmp_path / "stopped/slide"
    command = [*TSFD, "relabel", str(slide), f"--classes={classes}", f"--out={new.parent}"]
    with subprocess.Popen(
        [*command, f"--server={server.grpc_url}"], stderr=subprocess.PIPE, text=True
    ) as process:
        while not (new / "blocks/00000.parquet").is_file():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate()
    assert process.returncode == 130
    assert said.endswith(
        "tsfd: stopped; what is kept stays. Run the same command again to go on.\n"
    )
    assert not (new / "DONE").exists()

    before = answered(server, FEATURES)
    assert _relabel(slide, classes, new.parent, f"--server={server.grpc_url}") == 0
    assert answered(server, FEATURES) - before < tiles
    assert _files(new) == _files(tmp_path / "whole/slide")
    assert outputs(new) == outputs(tmp_path / "whole/slide")


def test_a_lost_server_is_said_and_what_is_kept_stays(
    folder: Path, classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = [str(folder / "results" / name) for name in ("slide", "picture")]
    assert main(["relabel", *results, f"--classes={classes}", f"--out={tmp_path}", NOWHERE]) == 1
    said = capsys.readouterr().err.splitlines()
    assert "localhost:1" in said[0]
    assert said[1:] == ["tsfd: stopped; what is kept stays. Run the same command again to go on."]
    assert main(["status", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("slide  failed")


def _refused(capsys: pytest.CaptureFixture[str], message: str) -> None:
    assert capsys.readouterr().err == f"tsfd: {message}\n"


def test_a_head_of_other_weights_than_the_servers_is_refused(
    server: TritonServer,
    folder: Path,
    head: Head,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept = _keep(folder, tmp_path, server)
    other = tmp_path / "other.npz"
    save(replace(head, base="lite-else", weights_sha256="ab" * 32), other)
    capsys.readouterr()
    # The features that are kept are of no use, either.
    assert _relabel(kept, other, tmp_path / "new", f"--server={server.grpc_url}") == 1
    name = read_info(kept / "nuclei.parquet").release.name
    _refused(
        capsys,
        f"{other} belongs to the weights of lite-else, and the server at {server.grpc_url} serves "
        f"{name}: serve those weights.",
    )


def test_a_server_that_changes_its_weights_is_noticed(server: TritonServer) -> None:
    with Client(server.grpc_url) as client:
        release = client.release()
        client.check_unchanged()
        # As if it had served other weights until now.
        before = replace(release, digests=release.digests | {"weights_sha256": "ab" * 32})
        client._release = before
        with pytest.raises(ServerError, match="which has other weights: serve those"):
            client.check_unchanged()


def test_results_of_other_weights_are_relabelled_too(
    server: TritonServer, folder: Path, classes: Path, tmp_path: Path
) -> None:
    result = shutil.copytree(folder / "results/picture", tmp_path / "picture")
    parquet = result / "nuclei.parquet"
    info = json.loads(pq.read_metadata(parquet).metadata[b"tsfd"])
    info["release"] |= {"release": "paper-else", "weights_sha256": "ab" * 32}
    table = pq.read_table(parquet).replace_schema_metadata({"tsfd": json.dumps(info)})
    pq.write_table(table, parquet)
    for path in (folder / "results/picture", result):
        out = tmp_path / path.parent.name
        assert _relabel(path, classes, out, f"--server={server.grpc_url}") == 0
    # The outlines are theirs, the classes are the same.
    tables = [tmp_path / name / "picture/nuclei.parquet" for name in ("results", tmp_path.name)]
    assert pq.read_table(tables[0]).equals(pq.read_table(tables[1]))
    assert read_info(tables[1]).release.served == "paper-else"


def test_unfinished_results_and_moved_images_are_refused(
    folder: Path, classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _relabel(tmp_path, classes, tmp_path / "out") == 1
    _refused(capsys, f"{tmp_path} is not a finished result: run `tsfd segment` first, or again.")
    stopped = tmp_path / "stopped"
    stopped.mkdir()
    (stopped / "run.json").write_text('{"relabels": "lite"}')
    assert _relabel(stopped, classes, tmp_path / "out") == 1
    _refused(capsys, f"{stopped} is not a finished result: run `tsfd relabel` first, or again.")

    copy = shutil.copytree(folder / "results/picture", tmp_path / "results/picture")
    origin = json.loads((copy / "origin.json").read_text())
    (copy / "origin.json").write_text(json.dumps(origin | {"path": "/gone.png"}))
    assert _relabel(copy, classes, tmp_path / "out") == 1
    _refused(
        capsys,
        f"{copy} needs its image: put it back, or segment it again. The image has been moved or "
        "deleted: /gone.png does not exist.",
    )
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_over(
    folder: Path, classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = folder / "results/picture"
    assert _relabel(result, classes, result.parent) == 1
    _refused(capsys, f"{result} would be written over: choose another --out.")

    copy = shutil.copytree(result, tmp_path / "picture")
    assert _relabel(result, classes, tmp_path) == 1
    _refused(capsys, f"{copy} contains something else: choose another --out.")
    (copy / "run.json").write_text("5")
    assert _relabel(result, classes, tmp_path) == 1
    _refused(capsys, f"{copy} contains something else: choose another --out.")
    command = ["relabel", str(result), str(copy), f"--classes={classes}"]
    assert main([*command, f"--out={tmp_path / 'both'}", NOWHERE]) == 1
    _refused(
        capsys,
        f"{result} and {copy} would both be written to {tmp_path / 'both/picture'}: give them "
        "different --out.",
    )


def _with_features(table: pa.Table, value: float) -> pa.Table:
    shape = len(table), table["features"].type.list_size
    rows = pa.array(np.full(shape, value, np.float16).reshape(-1))
    return table.set_column(1, "features", pa.FixedSizeListArray.from_arrays(rows, shape[1]))


def test_damaged_features_are_named(
    server: TritonServer,
    folder: Path,
    classes: Path,
    head: Head,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept = _keep(folder, tmp_path, server)
    few = tmp_path / "few.npz"
    save(replace(head, weights=head.weights[:-1]), few)
    capsys.readouterr()
    assert _relabel(kept, few, tmp_path / "few") == 1
    width = len(head.weights)
    _refused(
        capsys,
        f"{few} was learned from {width - 1} features, and there are {width}: make it again with "
        "`tsfd adapt`.",
    )
    damaged = f"{kept / 'features'} is damaged: remove it, to ask for its features again."
    whole = (kept / "features/info.json").read_text()
    (kept / "features/info.json").write_text(json.dumps(json.loads(whole) | {"width": "x"}))
    assert _relabel(kept, classes, tmp_path / "new") == 1
    _refused(capsys, damaged)
    (kept / "features/info.json").write_text(whole)
    last = (kept / "features/00001.parquet").read_bytes()
    (kept / "features/00001.parquet").unlink()
    assert _relabel(kept, classes, tmp_path / "new") == 1
    _refused(capsys, damaged)
    (kept / "features/00001.parquet").write_bytes(last)
    for name, change in (
        ("empty", lambda table: table.slice(0, 0)),
        ("nan", lambda table: _with_features(table, np.nan)),
        ("lists", lambda table: table.set_column(1, "features", [table["features"].to_pylist()])),
    ):
        path = kept / "features/00000.parquet"
        whole = path.read_bytes()
        pq.write_table(change(pq.read_table(path)), path)
        assert _relabel(kept, classes, tmp_path / name) == 1
        _refused(capsys, damaged)
        path.write_bytes(whole)
    (kept / "features/00000.parquet").write_bytes(b"PAR1")
    assert _relabel(kept, classes, tmp_path / "new") == 1
    _refused(capsys, damaged)
    assert main(["export", str(kept), "--to=anndata"]) == 1
    _refused(capsys, damaged)

    shutil.rmtree(kept / "features")
    assert _relabel(kept, classes, tmp_path / "new", f"--server={server.grpc_url}") == 0
