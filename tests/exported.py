"""Records of exports that tests make up."""

from __future__ import annotations

from typing import Any

from training.exported import Exported

FEATURES = 293


def exported(
    preset: str, weights: str, source: str, parameters: dict[str, Any], target: dict[str, Any]
) -> Exported:
    """The record of a network with its own classes."""
    names = [kind["name"] for kind in target.get("classes", [])]
    return Exported(preset, weights, "", source, parameters, target, names, FEATURES)
