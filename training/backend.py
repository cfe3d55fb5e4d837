"""What Keras computes on: named before Keras is imported, which reads it then.

KERAS_BACKEND as it is set, otherwise PyTorch where that is installed: its first step takes seconds,
TensorFlow's minutes.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

if "keras" not in sys.modules:
    os.environ.setdefault("KERAS_BACKEND", "torch" if find_spec("torch") else "tensorflow")
