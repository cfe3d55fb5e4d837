"""Average weights of runs that began from the same weights.

    python -m training.average --data DATA --weights a.npz b.npz --shares 1 2 --out mean.npz

The mean of such runs is often better than each of them (Wortsman et al. 2022, "Model soups"). Its
batch normalisation is fitted anew, on patches drawn as --recipe says. Calibrate and tune it
afterwards: it has no thresholds of its own.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from training import backend  # isort: skip  # noqa: F401, before Keras
import keras
import numpy as np

from training.data.annotated import DataError
from training.model import weights
from training.model.statistics import fit_statistics
from training.model.weights import WeightsError
from training.recipe import RecipeError, read
from training.train import load, make_batches

_BATCHES = 16


def average(files: Sequence[Path], shares: Sequence[float]) -> tuple[keras.Model, str]:
    """The mean of networks, with the statistics of the first one, and their preset.

    Raises
    ------
    WeightsError
        If a file cannot be read, or they are not of one network for one target.
    """
    for path in files:
        weights.check_classes(path)
    network, preset = weights.load(files[0])
    target = weights.target(files[0])
    means = [np.zeros_like(value) for value in _values(network)]
    for path, share in zip(files, shares, strict=True):
        other, its_preset = weights.load(path)
        if (its_preset, weights.target(path)) != (preset, target):
            raise WeightsError(f"{path} is not of the same network and target as {files[0]}.")
        means = [
            mean + value * (share / sum(shares))
            for mean, value in zip(means, _values(other), strict=True)
        ]
    for variable, mean in zip(network.trainable_variables, means, strict=True):
        variable.assign(mean)
    return network, preset


def _values(network: keras.Model) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(v.value) for v in network.trainable_variables]


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.average",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="as training.train")
    parser.add_argument("--weights", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--shares", type=float, nargs="+", help="one per file (default: equal)")
    parser.add_argument("--recipe", default="further", help="that draws the patches")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    arguments = parser.parse_args(argv)
    if len(arguments.weights) < 2:
        parser.error("--weights takes at least two files")
    shares = arguments.shares or [1.0] * len(arguments.weights)
    if len(shares) != len(arguments.weights) or not all(0 < s < math.inf for s in shares):
        parser.error("--shares takes a number above 0 for each file of --weights")
    if arguments.out.is_dir():
        parser.error(f"--out names a file, and {arguments.out} is a folder")
    try:
        recipe = read(arguments.recipe)
        network, preset = average(arguments.weights, shares)
        target = weights.target(arguments.weights[0])
        training, _ = load(arguments.data, [1], 2, target.mpp)
        batches = make_batches(training, recipe, _BATCHES)
        fit_statistics(network, (batches.batch(number)[0] for number in range(_BATCHES)))
        weights.save(network, preset, arguments.out, target)
    except (RecipeError, DataError, WeightsError, OSError) as error:
        print(f"average: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("average: stopped before the end; nothing was written.", file=sys.stderr)
        return 130
    print(f"Wrote {arguments.out}: calibrate it, then tune it.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
