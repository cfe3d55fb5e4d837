"""Manifests of fields whose nuclei are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from samples.synthetic import generate

_LABELS = {1: "epithelial_any", 2: "inflammatory", 3: "connective", 5: "epithelial_any"}


def write_manifest(folder: Path, sizes: Sequence[tuple[int, int]], *, split: str) -> None:
    """A manifest of the set "fields": images of known nuclei by height and width, with classes."""
    entries = []
    for number, (height, width) in enumerate(sizes):
        field = generate(height, width, nuclei=height * width // 3000, seed=number)
        image, masks = f"{number}.png", f"{number}.npz"
        cv2.imwrite(str(folder / image), field.image[..., ::-1])
        labels = np.array([_LABELS[int(c)] for c in field.classes])
        np.savez(folder / masks, instances=field.instance_map, label=labels)
        entries.append(
            {
                "image": image,
                "masks": masks,
                "set": "fields",
                "split": split,
                "tissue": "Colon" if number else None,
                "group": image,
                "mpp": 0.25,
                "height": height,
                "width": width,
                "nuclei": len(labels),
            }
        )
    (folder / "manifest.json").write_text(json.dumps(entries))
