"""Serve the network and segment images: ``python -m demo [--image PATH]``, `make demo`.

Starts the real Triton server, segments a synthetic field whose nuclei are known and a real H&E
image (or the user's own) over gRPC, scores the first, and stops the server. Writes
``<out>/<image>/{nuclei.geojson,overlay.png,labels.png,nuclei.csv}`` and ``<out>/summary.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from metrics.panoptic_quality import panoptic_quality
from samples import histology
from samples.synthetic import MPP as SCALE
from samples.synthetic import generate
from serving.server import ServerError, TritonServer
from tsfd_client import Client, TsfdError, read_image, save
from tsfd_client.contract import USE


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--image", type=Path, help="your own image instead of the packaged one")
    parser.add_argument("--mpp", type=float, help="its micrometres per pixel")
    parser.add_argument("--out", type=Path, default=Path("build/demo"), metavar="DIR")
    arguments = parser.parse_args(argv)
    try:
        if arguments.image:
            _run(arguments.image, arguments.mpp, arguments.out)
        else:
            _run(histology.path(), arguments.mpp or histology.MPP, arguments.out)
    except (ServerError, TsfdError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


def _run(path: Path, mpp: float | None, out: Path) -> None:
    image, mpp = read_image(path, mpp=mpp)
    field = generate(768, 768, nuclei=260, seed=1)
    synthetic = out / "synthetic" / "image.png"
    synthetic.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(field.image).save(synthetic)
    print("Starting Triton on this machine's CPU ...", flush=True)
    with TritonServer() as server, Client(server.grpc_url) as client:
        client.check()
        if mpp is None:
            mpp = client.release().mpp
            print(
                f"{path.name} does not say its scale; {mpp:g} µm per pixel ({10 / mpp:.0f}x) is "
                "assumed (MPP=...)."
            )
        summary = {
            path.stem: _segment(client, path.stem, path, image, mpp, out),
            "synthetic": _segment(
                client, "synthetic", synthetic, field.image, SCALE, out, field.instance_map
            ),
            "use": USE,
        }
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    tsfd = os.path.relpath(Path(sys.executable).with_name("tsfd"))
    print(f"\nAll figures are in {out / 'summary.json'} ({USE}).")
    print(f"Look at the nuclei in a browser:  {tsfd} view {out}")
    print("Segment a picture of your own:    make demo IMAGE=biopsy.png MPP=0.25")
    print("Keep a server running for many:   make serve")
    print("On a host with an NVIDIA GPU it runs as a TensorRT engine: deploy/README.md")


def _segment(
    client: Client,
    name: str,
    source: Path,
    image: np.ndarray,
    mpp: float,
    out: Path,
    truth: np.ndarray | None = None,
) -> dict:
    started = time.perf_counter()
    nuclei = client.segment(image, mpp=mpp)
    seconds = time.perf_counter() - started
    save(nuclei, image, out / name, source=source)
    result = {
        "nuclei": len(nuclei),
        "classes": nuclei.counts(),
        "mpp": mpp,
        "seconds": round(seconds, 2),
    }
    height, width = image.shape[:2]
    print(f"\n{name}: {len(nuclei)} nuclei in {width} x {height} pixels, {seconds:.1f} s")
    for kind, count in nuclei.counts().items():
        print(f"  {kind:<13} {count:>5}")
    if truth is not None:
        quality = panoptic_quality(truth, nuclei.instance_map)
        result |= {
            "known_nuclei": int(truth.max()),
            "pq": round(quality.pq, 3),
            "dq": round(quality.dq, 3),
            "sq": round(quality.sq, 3),
        }
        print(
            f"  against the {truth.max()} known nuclei: PQ {quality.pq:.3f} "
            f"(DQ {quality.dq:.3f}, SQ {quality.sq:.3f})"
        )
    print(f"  picture: {out / name / 'overlay.png'}; tables and outlines beside it")
    return result


if __name__ == "__main__":
    sys.exit(main())
