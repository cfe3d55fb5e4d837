"""Recipes: every setting of a training run, in one readable file.

recipe = read("lite")                # training/recipes/lite.toml
recipe = read("my/recipe.toml")
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path

import keras

from training.data.augment import AUGMENTATIONS
from training.losses import LOSSES
from training.model.network import PRESETS
from training.schedule import WarmUpHoldDecay
from training.target import PANNUKE, Target
from tsfd_client.pixels.resample import MPP_RANGE

FOLDER = Path(__file__).parent / "recipes"
_CHOICES = {
    "network": PRESETS,
    "precision": ("float32", "mixed_bfloat16", "mixed_float16"),
    "start": ("random", "imagenet", "weights"),
    "losses": LOSSES,
    "augmentation": AUGMENTATIONS,
}
_OPTIONAL = ("steps_per_epoch", "mpp")
_NUMBER = (int, float)
_COUNT = (int, lambda value: value > 0, "a whole number above 0")
_EPOCHS = (_NUMBER, lambda value: 0 <= value < math.inf, "a number of epochs from 0 on")
_LOW, _HIGH = MPP_RANGE
# Type, test and wording of what a line may hold.
_RULES = {
    "epochs": _COUNT,
    "steps_per_epoch": _COUNT,
    "batch_size": _COUNT,
    "learning_rate": (_NUMBER, lambda value: 0 < value < math.inf, "a number above 0"),
    "warm_up": _EPOCHS,
    "decay": _EPOCHS,
    "statistics_momentum": (_NUMBER, lambda value: 0 <= value < 1, "a number from 0 to below 1"),
    "mpp": (_NUMBER, lambda value: _LOW <= value <= _HIGH, f"a number from {_LOW} to {_HIGH}"),
    "balance_classes": (bool, lambda _: True, "true or false"),
    "optimizer": (dict, lambda value: isinstance(value.get("name"), str), "a table with a name"),
}


class RecipeError(Exception):
    """A recipe cannot be used; the message says what is wrong with it."""


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes
    ----------
    network
        Preset of `training.model.network`.
    precision
        Keras' dtype policy.
    start
        ``"random"``, ``"imagenet"`` for the backbone (`training.model.imagenet`), or ``"weights"``
        for a recipe that only goes on from a weights file.
    losses, augmentation
        Names in `training.losses.LOSSES` and `training.data.augment.AUGMENTATIONS`.
    balance_classes
        Whether patches with rare classes are drawn more often.
    epochs, steps_per_epoch, batch_size
        Length of the training; without `steps_per_epoch` an epoch draws as many pixels as there
        are in the data.
    learning_rate, warm_up, decay
        The rate rises to `learning_rate` over the first `warm_up` epochs, is held, and falls to 0
        over the last `decay` epochs.
    statistics_momentum
        Momentum of the moving averages in the batch normalisation.
    optimizer
        ``name`` of a Keras optimiser, and its arguments.
    mpp
        Scale that the network is trained for, micrometres per pixel.
    """

    network: str
    precision: str
    start: str
    losses: str
    augmentation: str
    balance_classes: bool
    epochs: int
    batch_size: int
    learning_rate: float
    warm_up: float
    decay: float
    statistics_momentum: float
    optimizer: dict
    steps_per_epoch: int | None = None
    mpp: float = PANNUKE.mpp

    @property
    def target(self) -> Target:
        """What the network is trained for."""
        return replace(PANNUKE, mpp=self.mpp)


def read(name: str) -> Recipe:
    """Read a recipe by its name, or from the path of a .toml file.

    Raises
    ------
    RecipeError
        If there is no such recipe, or a line of it is missing, unknown or out of range.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.toml")))
        raise RecipeError(
            f"There is no recipe {name}: name one of {known}, or the path of a .toml file."
        )
    try:
        values = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not TOML: {error}.") from error
    known = {field.name: field for field in fields(Recipe)}
    for key in values:
        if key not in known:
            raise RecipeError(f"{path} has the unknown line {key!r}; known are {', '.join(known)}.")
    for key in known:
        if key not in values and key not in _OPTIONAL:
            raise RecipeError(f"{path} lacks the line {key!r}.")
    for key, choices in _CHOICES.items():
        if not isinstance(values[key], str) or values[key] not in choices:
            raise RecipeError(
                f"{path}: {key} must be one of {', '.join(choices)}, not {values[key]!r}."
            )
    for key, (kind, fits, wanted) in _RULES.items():
        if key not in values:
            continue
        value = values[key]
        confused = isinstance(value, bool) and kind is not bool
        if confused or not isinstance(value, kind) or not fits(value):
            raise RecipeError(f"{path}: {key} must be {wanted}, not {value!r}.")
    recipe = Recipe(**values)
    try:
        make_optimizer(recipe, recipe.learning_rate)
    except (ValueError, TypeError, KeyError) as error:
        raise RecipeError(f"{path}: Keras refuses the optimizer: {error}") from error
    return recipe


def make_schedule(recipe: Recipe, steps_per_epoch: int) -> WarmUpHoldDecay:
    """The recipe's learning rate schedule."""
    return WarmUpHoldDecay(
        peak=recipe.learning_rate,
        warm_up=recipe.warm_up * steps_per_epoch,
        decay=recipe.decay * steps_per_epoch,
        steps=recipe.epochs * steps_per_epoch,
    )


def make_optimizer(
    recipe: Recipe, learning_rate: float | WarmUpHoldDecay
) -> keras.optimizers.Optimizer:
    """The recipe's optimiser."""
    arguments = {key: value for key, value in recipe.optimizer.items() if key != "name"}
    optimizer = keras.optimizers.get(
        {"class_name": recipe.optimizer["name"], "config": {"learning_rate": 0.0, **arguments}}
    )
    optimizer.learning_rate = learning_rate
    return optimizer
