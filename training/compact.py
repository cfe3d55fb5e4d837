"""Make a weights file smaller by storing its large kernels in 8 bits instead of 16.

    python -m training.compact --weights runs/full/weights.npz

The loss of accuracy is about that of serving in bfloat16: evaluate the file afterwards.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from training.model.weights import WeightsError, compact


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.compact",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE")
    path = parser.parse_args(argv).weights
    try:
        compact(path)
    except WeightsError as error:
        print(f"compact: {error}", file=sys.stderr)
        return 1
    print(f"{path} is now {path.stat().st_size / 1e6:.1f} MB.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
