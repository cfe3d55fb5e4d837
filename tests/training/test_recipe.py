"""Recipes: the shipped ones are complete, and a wrong line gets its own sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from training.recipe import FOLDER, RecipeError, make_optimizer, make_schedule, read


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_recipes_are_complete(path: Path) -> None:
    recipe = read(path.stem)

    schedule = make_schedule(recipe, steps_per_epoch=10)
    assert make_optimizer(recipe, schedule).learning_rate == schedule(0)


def test_the_papers_recipe_is_the_papers() -> None:
    recipe = read("paper")

    assert (recipe.network, recipe.losses, recipe.augmentation) == ("paper",) * 3
    assert (recipe.epochs, recipe.learning_rate) == (150, 0.16)
    assert (recipe.warm_up, recipe.decay) == (3, 147)
    assert recipe.optimizer == {"name": "SGD", "momentum": 0.9}


def test_the_rate_rises_is_held_and_falls_to_zero() -> None:
    recipe = replace(read("lite"), epochs=100, warm_up=2, decay=10)
    schedule = make_schedule(recipe, steps_per_epoch=10)
    peak = pytest.approx(recipe.learning_rate)

    rates = [float(schedule(step)) for step in range(1001)]

    assert rates[0] == pytest.approx(recipe.learning_rate / 20)
    assert rates[19] == peak
    assert all(rate == peak for rate in rates[20:901])
    assert rates[950] == pytest.approx(recipe.learning_rate / 2)
    assert rates[1000] == 0
    assert sorted(rates[900:], reverse=True) == rates[900:]


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("epochs = 40", "", "{path} lacks the line 'epochs'."),
        ("epochs = 40", "epochs = -1", "{path}: epochs must be a whole number above 0, not -1."),
        (
            'losses = "marginal"',
            'losses = "dice"',
            "{path}: losses must be one of marginal, paper, not 'dice'.",
        ),
        (
            'start = "imagenet"',
            'start = "weights/lite.npz"',
            "{path}: start must be one of random, imagenet, weights, not 'weights/lite.npz'.",
        ),
        ("use_ema", "use_emma", "{path}: Keras refuses the optimizer: "),
        ('"AdamW"', '"AdamX"', "{path}: Keras refuses the optimizer: "),
        (
            "decay = 38",
            "decay = -1",
            "{path}: decay must be a number of epochs from 0 on, not -1.",
        ),
        ("epochs = 40", "epochs = 1.5", "{path}: epochs must be a whole number above 0, not 1.5."),
        (
            "balance_classes = false",
            'balance_classes = "no"',
            "{path}: balance_classes must be true or false, not 'no'.",
        ),
        (
            'losses = "marginal"',
            'losses = ["dice"]',
            "{path}: losses must be one of marginal, paper, not ['dice'].",
        ),
        ('name = "AdamW"', "", "{path}: optimizer must be a table with a name, not {{"),
        ("epochs = 40", "epochs = 40\nmpp = nan", "{path}: mpp must be a number from 0.05 to 2.0"),
        ("epochs = 40", "epochs = = 40", "{path} is not TOML: "),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text((FOLDER / "lite.toml").read_text().replace(old, new))

    with pytest.raises(RecipeError) as caught:
        read(str(path))

    assert str(caught.value).startswith(sentence.format(path=path))


def test_an_unknown_line_and_an_unknown_recipe_are_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("epoch = 3\n" + (FOLDER / "lite.toml").read_text())

    with pytest.raises(RecipeError, match=r"mine\.toml has the unknown line 'epoch'; known are "):
        read(str(path))
    with pytest.raises(
        RecipeError,
        match=r"There is no recipe light: name one of full, further, lite, lite-20x, paper, or ",
    ):
        read("light")
