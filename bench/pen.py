"""Measure how much of pen is found, and how much tissue is taken for it: ``python -m bench.pen``.

Strokes of known place are drawn over real tissue and beside it, in shades of six colours, opaque
and translucent. Then the same tissue is searched as it is, and with made pigment in it. Takes the
images of a ``manifest.json`` (``--data``), or else the demo's image, shrunk to the scale at which
tissue is searched for and mirrored to wide fields. At last a slide is segmented by the real server,
clean and with pen on it. Writes ``pen.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import tifffile
from scipy.spatial import cKDTree

from samples import histology
from samples.pen import INKS, SOFT_UM, draw, strokes
from serving.server import ServerError, TritonServer
from training.data.annotated import DataError
from training.data.manifest import read_entries
from tsfd_client import TsfdError, read_image, segment_image
from tsfd_client.pixels.pen import find_pen
from tsfd_client.pixels.tissue import MPP

_OPACITIES: Final = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_FIELD_MM: Final = (8.1, 4.0)
_GLASS: Final = (243, 241, 244)
_JPEG: Final = 90
_LEAST: Final = 24  # pixels of an image's side from which on it makes a field under strokes
_WITH_INK: Final = ("consep/train/train_2.jpg", "consep/train/train_12.jpg")
"""Images of CoNSeP in which pathologists have inked a margin."""
_PIGMENTS: Final = {
    "melanin": (0.6, 0.8, 1.0),
    "haemosiderin": (0.33, 0.58, 1.0),
    "carbon": (1.0, 1.0, 1.0),
}
"""Optical densities in red, green and blue, of which the largest is 1."""
_CLUSTERS_UM: Final = (30, 60, 120, 250)
_DENSITIES: Final = (0.5, 1.0, 1.5)
_CLUSTERED: Final = 0.1  # share of the tissue that has pigment
_GRAIN: Final = 0.5  # deviation of the pigment's density from pixel to pixel
_SERVED: Final = ("blue", "black")  # pens on the slide that is segmented: the commonest
_SERVED_OPACITY: Final = 0.9
_SLIDE: Final = (4800, 4800)  # pixels of the slide that is made of the demo's image
_UNTOUCHED: Final = 0.002  # share of ink that changes no pixel
_SAME_UM: Final = 1.0  # between the centroids of a nucleus in both


@dataclass(frozen=True)
class Tissue:
    """An image at `MPP`, uint8 [h, w, 3], RGB."""

    name: str
    image: np.ndarray


def tissues(data: Path | None) -> list[Tissue]:
    """The images that a manifest lists; without one, the demo's.

    Raises
    ------
    DataError, TsfdError, FileNotFoundError
        If they cannot be read.
    """
    if data is None:
        picture, _ = read_image(histology.path(), mpp=histology.MPP)
        return [Tissue("demo", _shrunk(picture, histology.MPP))]
    found = []
    for entry in read_entries(data):
        picture, mpp = read_image(data / entry["image"], mpp=entry["mpp"])
        found.append(Tissue(entry["image"], _shrunk(picture, mpp)))
    return found


def found(tissues: list[Tissue], *, fields: int, seed: int = 0) -> list[dict[str, object]]:
    """Share of the pen that is found, by colour, opacity and what it lies on.

    Each shade is drawn on so many `fields` of tissue and of glass.
    """
    rng = np.random.default_rng(seed)
    wide = [each for each in tissues if min(each.image.shape[:2]) >= _LEAST] or tissues
    wide = [each for each in wide if each.name not in _WITH_INK]
    rows: list[dict[str, object]] = []
    for colour, shades in INKS.items():
        for opacity in _OPACITIES:
            hits = {"over tissue": [0, 0], "beside it": [0, 0]}
            for shade in shades * fields:
                covered = strokes(_FIELD_MM, MPP, seed=int(rng.integers(1 << 30)))
                image = wide[rng.integers(len(wide))].image
                for place, ground in (
                    ("over tissue", _mirrored(image, covered.shape)),
                    ("beside it", _glass(covered.shape, rng)),
                ):
                    drawn = draw(ground, covered, shade, opacity=opacity, mpp=MPP, seed=seed)
                    mask = find_pen(_as_jpeg(drawn))
                    hits[place][0] += int((mask & (covered > 0.5)).sum())
                    hits[place][1] += int((covered > 0.5).sum())
            rows.append(
                {"colour": colour, "opacity": opacity}
                | {place: round(hit / drawn, 4) for place, (hit, drawn) in hits.items()}
            )
    return rows


def taken(tissues: list[Tissue]) -> dict[str, float]:
    """Share of the images' area that is taken for pen; the two with ink apart."""
    areas = {"tissue": [0.0, 0.0], "margins with ink": [0.0, 0.0]}
    for each in tissues:
        kind = "margins with ink" if each.name in _WITH_INK else "tissue"
        size = each.image.shape[0] * each.image.shape[1]
        areas[kind][0] += size * float(find_pen(_mirrored(each.image, (64, 64))).mean())
        areas[kind][1] += size
    return {kind: round(hit / size, 6) for kind, (hit, size) in areas.items() if size}


def pigment(tissues: list[Tissue], *, fields: int, seed: int = 0) -> list[dict[str, object]]:
    """Share of tissue with made pigment that is taken for pen, by cluster and density."""
    rng = np.random.default_rng(seed)
    wide = [each for each in tissues if min(each.image.shape[:2]) >= _LEAST] or tissues
    rows: list[dict[str, object]] = []
    for name, colour in _PIGMENTS.items():
        for cluster in _CLUSTERS_UM:
            for density in _DENSITIES:
                shares = []
                for _ in range(fields):
                    image = _mirrored(wide[rng.integers(len(wide))].image, (400, 400))
                    amount = density * _clusters(rng, image.shape[:2], cluster)
                    clear = np.exp(-amount[..., None] * np.array(colour, np.float32))
                    clear = cv2.resize(clear, image.shape[1::-1], interpolation=cv2.INTER_AREA)
                    pigmented = np.rint((image + 1.0) * clear - 1).clip(0, 255).astype(np.uint8)
                    shares.append(float(find_pen(_as_jpeg(pigmented)).mean()))
                share = round(float(np.mean(shares)), 5)
                rows.append({"pigment": name, "µm": cluster, "density": density, "taken": share})
    return rows


def kept(server: TritonServer, picture: np.ndarray, mpp: float) -> list[dict[str, object]]:
    """Nuclei outside of pen that are found as on the clean slide, left out or segmented."""
    size = tuple(length * mpp / 1000 for length in picture.shape[:2])
    covered = strokes(size, mpp, seed=0, widths=(0.2,))
    outside = cv2.GaussianBlur(covered, (0, 0), SOFT_UM / mpp) < _UNTOUCHED
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        clean = _nuclei(server, picture, mpp, Path(folder) / "clean", with_pen=False)
        expected = clean[outside[tuple(clean[:, ::-1].astype(int).T)]]
        for colour in _SERVED:
            ink = INKS[colour][0]
            drawn = draw(picture, covered, ink, opacity=_SERVED_OPACITY, mpp=mpp, seed=0)
            for with_pen in (False, True):
                name = Path(folder) / f"{colour} {with_pen}"
                nuclei = _nuclei(server, drawn, mpp, name, with_pen=with_pen)
                distances, _ = cKDTree(nuclei).query(expected)
                share = round(float((distances * mpp < _SAME_UM).mean()), 4)
                row = {"colour": colour, "with_pen": with_pen, "nuclei": len(expected)}
                rows.append(row | {"kept": share})
    return rows


def _slide() -> tuple[np.ndarray, float]:
    picture, mpp = read_image(histology.path(), mpp=histology.MPP)
    return _mirrored(picture, _SLIDE), mpp


def _nuclei(
    server: TritonServer, picture: np.ndarray, mpp: float, name: Path, *, with_pen: bool
) -> np.ndarray:
    """Centroids of a picture's nuclei, segmented as a slide; float64 [n, 2], x and y."""
    path = name.with_suffix(".tif")
    description = f"Aperio Image Library |MPP = {mpp}"
    tifffile.imwrite(
        *(path, picture),
        photometric="rgb",
        tile=(256, 256),
        description=description,
        metadata=None,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that pen was left out
        result = segment_image(path, name, server.grpc_url, with_pen=with_pen)
    table = result.table()
    return np.stack([table[axis].to_numpy() for axis in ("centroid_x", "centroid_y")], axis=1)


def _clusters(rng: np.random.Generator, shape: tuple[int, int], diameter: float) -> np.ndarray:
    """Clusters of granules, float32 [2 h, 2 w], 1 on average where they are."""
    shape = (2 * shape[0], 2 * shape[1])
    field = cv2.GaussianBlur(rng.standard_normal(shape, np.float32), (0, 0), diameter / MPP)
    inside = field > np.quantile(field, 1 - _CLUSTERED)
    grain = cv2.GaussianBlur(rng.standard_normal(shape, np.float32), (0, 0), 1.5)
    return inside * np.clip(1 + _GRAIN / grain.std() * grain, 0, None).astype(np.float32)


def _shrunk(picture: np.ndarray, mpp: float) -> np.ndarray:
    size = [max(1, round(length * mpp / MPP)) for length in picture.shape[1::-1]]
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _mirrored(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A field of a shape or more that an image and its mirror images fill."""
    rows, columns = (np.arange(length) for length in shape[:2])
    height, width = image.shape[:2]
    return image[_folded(rows, height)[:, None], _folded(columns, width)]


def _folded(places: np.ndarray, length: int) -> np.ndarray:
    places = places % (2 * length)
    return np.minimum(places, 2 * length - 1 - places)


def _glass(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    noise = rng.standard_normal((*shape, 3), np.float32)
    return np.rint(_GLASS + noise).astype(np.uint8)


def _as_jpeg(image: np.ndarray) -> np.ndarray:
    _, stored = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG])
    return np.ascontiguousarray(cv2.imdecode(stored, cv2.IMREAD_COLOR)[..., ::-1])


def _lines(figures: dict[str, object]) -> Iterator[str]:
    for row in figures["found"]:
        over, beside = row["over tissue"], row["beside it"]
        told = f"{over:7.1%} over tissue {beside:7.1%} beside it"
        yield f"{row['colour']:18} {row['opacity']:.1f} {told}"
    for kind, share in figures["taken"].items():
        yield f"{kind}: {share:.3%} taken for pen"
    for row in figures["pigment"]:
        told = f"clusters of {row['µm']} µm, density {row['density']}: {row['taken']:.3%}"
        yield f"{row['pigment']:14} {told}"
    for row in figures["kept"]:
        done = "segmented" if row["with_pen"] else "left out"
        yield f"{row['colour']:18} {done:10} {row['kept']:.2%} of {row['nuclei']} nuclei outside"


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.pen",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("build/bench"), metavar="DIR")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with a manifest.json")
    parser.add_argument(
        "--slide", type=Path, help="to segment with pen on it; default: the demo's image, mirrored"
    )
    parser.add_argument("--fields", type=int, default=4, metavar="N", help="default: %(default)s")
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    try:
        images = tissues(arguments.data)
        picture, mpp = read_image(
            arguments.slide or histology.path(), mpp=None if arguments.slide else histology.MPP
        )
        if arguments.slide is None:
            picture = _mirrored(picture, _SLIDE)
        figures = {
            "images": len(images),
            "found": found(images, fields=arguments.fields),
            "taken": taken(images),
            "pigment": pigment(images, fields=arguments.fields),
        }
        with TritonServer() as server:
            figures["kept"] = kept(server, picture, mpp)
    except (DataError, ServerError, TsfdError, FileNotFoundError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    path = arguments.out / "pen.json"
    path.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    print("\n".join(_lines(figures)))
    print(f"All in {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
