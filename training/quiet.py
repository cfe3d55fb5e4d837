"""Keep TensorFlow's start-up messages off the screen."""

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
    """Silence TensorFlow's start-up messages while it, or Keras on it, is imported in this context.

    Its libraries write them before reading any setting, so the process' stderr is captured in the
    meantime. Anything else in it is passed on afterwards; if the import fails, all of it is.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("absl").setLevel(logging.ERROR)  # it warns of gradients, unused here
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
