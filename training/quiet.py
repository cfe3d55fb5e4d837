"""TensorFlow without its start-up lines."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_NOISE = ("I0000 ", "WARNING: All log messages before absl::InitializeLog()")


@contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Import TensorFlow, or Keras on it, in this context and hear only of what went wrong.

    Its libraries write lines of information before they read any setting, so the process' error
    stream is held back meanwhile; all else that was written to it follows, and everything if the
    import fails.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("absl").setLevel(logging.ERROR)  # about gradients that nobody asks for
    sys.stderr.flush()
    stream, noise = os.dup(2), _NOISE
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            noise = ()
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stream, 2)
            os.close(stream)
            held.seek(0)
            for line in held.read().decode(errors="replace").splitlines():
                if not line.startswith(noise):
                    print(line, file=sys.stderr)
