"""Compare other nucleus networks with ours: ``python -m bench.peers``, `make bench-peers`.

Times Hover-Net, HoVer-NeXt, two StarDists and CPP-Net, rebuilt with random weights, and ours,
in ONNX Runtime and in OpenVINO, without post-processing. As a machine's speed drifts, every network
takes turns with `lite`, and its ratio is the median over the rounds; the ratio of `lite` to itself
shows how much of the drift remains. Writes ``peers.json``.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from pathlib import Path
from statistics import median

import onnx
from tqdm import tqdm

from bench.machine import machine
from bench.peers.runtimes import RUNTIMES
from bench.peers.systems import SYSTEMS, YARDSTICK, System


def measure(
    systems: dict[str, System] = SYSTEMS, *, rounds: int = 7, seconds: float = 2.0
) -> list[dict[str, object]]:
    """Measure all systems; returns one row each with its tiles, parameters and times by runtime.

    Parameters
    ----------
    systems
        Systems by name, including `YARDSTICK`.
    seconds
        Minimum length of a turn, which computes whole tiles.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        models = {}
        for name, system in systems.items():
            network, parameters = system.build()
            models[name] = Path(folder) / f"{len(models)}.onnx"
            onnx.save(network, models[name])
            tiling = {"mpp": system.mpp, "tile": system.tile, "step": system.step}
            rows.append({"system": name, "parameters": parameters, **tiling})
        for runtime in RUNTIMES:
            turns = _take_turns(runtime, systems, models, rounds=rounds, seconds=seconds)
            for row in rows:
                name = row["system"]
                row[runtime] = _figures(systems[name], systems[YARDSTICK], turns[name])
    return rows


def _take_turns(
    runtime: str,
    systems: dict[str, System],
    models: dict[str, Path],
    *,
    rounds: int,
    seconds: float,
) -> dict[str, list[tuple[float, float]]]:
    """Time the yardstick and, right after it, each system in every round; seconds per tile."""
    load = RUNTIMES[runtime]
    turns = {name: load(models[name], system.image()) for name, system in systems.items()}
    found = {name: [] for name in systems}
    for _ in tqdm(range(rounds), desc=runtime, unit="round", disable=None):
        for name, turn in turns.items():
            found[name].append((turns[YARDSTICK](seconds), turn(seconds)))
    return found


def _figures(
    system: System, yardstick: System, turns: list[tuple[float, float]]
) -> dict[str, object]:
    """Compute the times per patch of input and per square millimetre, and their ratios.

    Parameters
    ----------
    turns
        Seconds per tile of the yardstick and of the system in each round.
    """
    seconds = median(own for _, own in turns)
    ratios = [own / base for base, own in turns]
    per_patch = yardstick.patches_per_tile / system.patches_per_tile
    per_mm2 = system.tiles_per_mm2 / yardstick.tiles_per_mm2
    return {
        "seconds_per_tile": [[round(s, 5) for s in turn] for turn in turns],
        "ms_per_patch": round(1000 * seconds / system.patches_per_tile, 1),
        "ratio_per_patch": round(per_patch * median(ratios), 2),
        "ratio_per_patch_range": [round(per_patch * end(ratios), 2) for end in (min, max)],
        "seconds_per_mm2": round(seconds * system.tiles_per_mm2, 2),
        "ratio_per_mm2": round(per_mm2 * median(ratios), 2),
    }


def table(rows: list[dict[str, object]]) -> str:
    """Format one line per system and runtime."""
    lines = [
        f"{'':<20} {'million':>7} {'tile/step':>9} {'':<12} "
        f"{'ms/patch':>9} {'to lite':>8} {'s/mm²':>9} {'to lite':>8}"
    ]
    for row in rows:
        size = f"{row['parameters'] / 1e6:.1f}"
        tiling = f"{row['tile']}/{row['step']}"
        for runtime in RUNTIMES:
            found = row[runtime]
            lines.append(
                f"{row['system']:<20} {size:>7} {tiling:>9} {runtime:<12} "
                f"{found['ms_per_patch']:>9,} {found['ratio_per_patch']:>8} "
                f"{found['seconds_per_mm2']:>9,} {found['ratio_per_mm2']:>8}"
            )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=2, help="length of each turn")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), metavar="DIR")
    arguments = parser.parse_args(argv)
    for converter in ("tensorflow", "tf2onnx"):
        logging.getLogger(converter).setLevel(logging.ERROR)
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = measure(rounds=arguments.rounds, seconds=arguments.seconds)
    path = arguments.out / "peers.json"
    figures = {"machine": machine(), "rows": rows}
    path.write_text(json.dumps(figures, indent=2) + "\n")
    print(table(rows))
    print(f"All figures: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
