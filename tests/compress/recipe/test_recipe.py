"""Recipes: one definition, checked before any work, told in one sentence."""

from pathlib import Path

import pytest

from compress.context.validation import keys_of, record_from
from compress.recipe.distill import Distill
from compress.recipe.recipe import Recipe, read_recipe, written
from compress.recipe.stages import STAGES
from runtime.errors import RecipeError

WHOLE = {
    "name": "r",
    "model": "mobilenetv3",
    "data": "digits",
    "stages": [{"distill": {"teacher": "resnet50", "temperature": 2}}],
}


def complaint(**changes: object) -> str:
    """What a recipe with `changes` is refused with."""
    with pytest.raises(RecipeError) as refused:
        record_from(Recipe, WHOLE | changes, keys_of("r.yaml"))
    return str(refused.value)


def test_a_recipe_survives_writing_and_reading(tmp_path: Path) -> None:
    """The YAML that a run keeps is the recipe again, defaults and all."""
    recipe = record_from(Recipe, WHOLE, keys_of("r.yaml"))
    (tmp_path / "r.yaml").write_text(written(recipe))

    again = read_recipe(tmp_path / "r.yaml")

    assert again == recipe
    assert again.digest() == recipe.digest()


def test_every_stage_of_the_table_is_a_key_with_its_options() -> None:
    """The schema of a step is made from the table, so it cannot lack a stage."""
    schema = Recipe.model_json_schema()["$defs"]

    assert set(schema["Step"]["properties"]) == set(STAGES)
    for kind in STAGES.values():
        assert set(schema[kind.__name__]["properties"]) == set(kind.model_fields)  # type: ignore[attr-defined]


def test_every_key_has_a_help_text() -> None:
    """A flag without a description helps nobody; the schema shows the same text."""
    for name, field in Distill.model_fields.items():
        assert field.description, name


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"stages": [{"distill": {"teacher": "resnet50", "temprature": 3}}]},
            "stages.0.distill.temprature: unknown key; did you mean 'temperature'?",
        ),
        ({"stages": [{"distil": {}}]}, "did you mean 'distill'?"),
        ({"modle": "x"}, "r.yaml: modle: unknown key; did you mean 'model'?"),
        (
            {"stages": [{"finetune": {"epochs": "ten"}}]},
            "finetune.epochs: found 'ten', which should be a valid integer",
        ),
        (
            {"stages": [{"distill": {"teacher": "resnet50", "alpha": 1.5}}]},
            "found 1.5, which should be less than or equal to 1",
        ),
        ({"stages": [{}]}, "expected one stage"),
        ({"seed": -1}, "r.yaml: seed: found -1"),
        ({"budget": {"top1_minimum": 0.9}}, "did you mean 'top1_min'?"),
    ],
)
def test_bad_recipes_are_told_in_one_sentence(
    changes: dict[str, object], sentence: str
) -> None:
    """Where, what was found, what is allowed."""
    told = complaint(**changes)

    assert sentence in told
    assert "\n" not in told


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['true']",
        "name: [",
        "- a list",
        "model: {name: mine, factory: 'my_net.py:build'}\nname: x",
        "name: x\nmodel: m\nstages: [{distill: {teacher: {factory: 'a.py:b'}}}]",
        "name: x\nmodel: m\nstages: 3",
        "name: x\nmodel: m\nstages: &loop [*loop]",
    ],
)
def test_recipes_carry_no_code_and_no_nonsense(tmp_path: Path, text: str) -> None:
    """YAML tags, broken YAML, another shape and code paths are all refused."""
    path = tmp_path / "r.yaml"
    path.write_text(text)

    with pytest.raises(RecipeError, match=r"r\.yaml"):
        read_recipe(path)
