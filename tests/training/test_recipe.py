"""Recipes: the shipped ones are complete, and a wrong line gets its own sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.recipe import FOLDER, RecipeError, make_optimizer, read


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_recipes_are_complete(path: Path) -> None:
    recipe = read(path.stem)

    assert float(make_optimizer(recipe).learning_rate) == pytest.approx(recipe.learning_rate)


def test_the_papers_recipe_is_the_papers() -> None:
    recipe = read("paper")

    assert (recipe.network, recipe.losses, recipe.augmentation) == ("paper",) * 3
    assert (recipe.epochs, recipe.learning_rate) == (150, 0.16)
    assert recipe.warm_up * recipe.epochs == pytest.approx(3)
    assert recipe.optimizer == {"name": "SGD", "momentum": 0.9}


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("epochs = 40", "", "{path} lacks the line 'epochs'."),
        ("epochs = 40", "epochs = -1", "{path}: epochs must be a number above 0, not -1."),
        (
            'losses = "marginal"',
            'losses = "dice"',
            "{path}: losses must be one of marginal, paper, not 'dice'.",
        ),
        ("use_ema", "use_emma", "{path}: Keras refuses the optimizer: "),
        ('"AdamW"', '"AdamX"', "{path}: Keras refuses the optimizer: "),
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
        match=r"There is no recipe light: name one of full, lite, paper, or the path of a \.toml",
    ):
        read("light")
