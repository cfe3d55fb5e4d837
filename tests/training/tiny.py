"""The smallest network of the family, under a preset of its own, and a recipe for it.

Whole trainings take seconds with it. Import it in a process of its own to have it there too.
"""

from __future__ import annotations

import os
from pathlib import Path

from training.model.backbone import Backbone
from training.model.network import PRESETS, NetworkConfig

PRESET = "tiny"
FEATURES = 21
"""Two levels and five classes."""

PYTHONPATH = os.pathsep.join(str(Path(__file__).parents[n]) for n in (2, 0))
"""For a process that imports the project, and this."""

RECIPE = """
network = "tiny"
precision = "float32"
start = "random"
losses = "marginal"
augmentation = "strong"
balance_classes = true
epochs = 2
steps_per_epoch = 3
batch_size = 1
learning_rate = 1e-2
warm_up = 1
decay = 1
statistics_momentum = 0.9

[optimizer]
name = "SGD"
momentum = 0.9
clipnorm = 2.0
use_ema = true
ema_momentum = 0.5
"""

PRESETS[PRESET] = NetworkConfig(
    backbone=Backbone(width=0.25, depth=0.25, activation="relu6", squeeze_excite=False),
    input_size=256,
    levels=("block1", "top"),
    width=8,
    repeats=0,
    dropout=0.1,
    activation="relu",
    head_upsamples_features=False,
)
