"""Values of command-line options."""

from __future__ import annotations

import argparse


def positive(text: str) -> int:
    """A whole number from 1 on, as argparse's ``type``."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {number}")
    return number
