"""Recipe keys as flags: the same names, types, help and defaults."""

import argparse
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from compress.cli.arguments import Parser, meant, whole
from compress.cli.flags import add_flags, flag_of, given
from compress.cli.verbs import distill, export, finetune
from compress.cli.verbs import eval as evaluation
from compress.recipe.stages import STAGES
from runtime.errors import RecipeError


class Options(BaseModel):
    """One key of every type that recipes use."""

    whole_number: int = Field(default=3, description="a number")
    share: float | None = Field(default=None, description="100 % of it")
    kind: Literal["a", "b"] | None = Field(default=None, description="which")
    names: tuple[str, ...] = Field(default=(), description="several")
    switch: bool = Field(default=False, description="on")
    usual: bool = Field(default=True, description="turn")
    text: Annotated[str, "note"] = Field(description="required in a recipe")
    hidden: int = Field(default=0, description="only in a recipe")


def parser() -> Parser:
    """A parser of nothing but those options."""
    made = Parser(prog="x")
    names = {"text": "--words", "hidden": None}
    add_flags(made, Options, title="options", names=names, prefix="o")
    return made


def test_flags_carry_the_types_of_the_keys() -> None:
    line = "--whole-number 7 --share 0.5 --kind b --names u,,v --switch --words hi"
    assert given(parser().parsed(line.split()), "o") == {
        "whole_number": 7,
        "share": 0.5,
        "kind": "b",
        "names": ("u", "v"),
        "switch": True,
        "text": "hi",
    }


def test_a_flag_that_is_not_given_leaves_the_default_to_the_recipe() -> None:
    assert given(parser().parsed([]), "o") == {}


def test_what_is_on_by_default_has_a_flag_that_turns_it_off() -> None:
    assert given(parser().parsed(["--no-usual"]), "o") == {"usual": False}


def test_keys_of_another_record_are_not_mixed_in() -> None:
    options = argparse.Namespace(**{"o.a": 1, "other.b": 2, "out": "x"})
    assert given(options, "o") == {"a": 1}


def test_help_is_the_description_with_the_default() -> None:
    told = " ".join(parser().format_help().split())
    assert "--whole-number N a number (default: 3)" in told
    assert "100 % of it" in told
    assert "--kind {a,b}" in told
    assert "hidden" not in told
    assert "Undefined" not in told


def test_a_key_without_a_flag_stays_with_recipes() -> None:
    with pytest.raises(RecipeError, match="unknown flag '--hidden'"):
        parser().parsed(["--hidden", "1"])
    assert flag_of("hidden", {"hidden": None}) is None
    assert flag_of("some_key", {}) == "--some-key"


def test_every_key_of_every_stage_is_a_flag_of_its_verb() -> None:
    """One definition serves recipe and command line; the schema is the oracle."""
    for name, verb in (("distill", distill), ("finetune", finetune)):
        made = Parser(prog=name)
        verb.add_arguments(made)
        destinations = {action.dest for action in made._actions}
        keys = set(STAGES[name].model_fields) - {"teacher"}  # type: ignore[attr-defined]
        assert {f"stage.{key}" for key in keys} <= destinations


@pytest.mark.parametrize("verb", [distill, finetune, export, evaluation])
def test_the_flags_that_scripts_rely_on_exist(verb: object) -> None:
    """The table of commands that the project promised."""
    promised = {
        distill: "--teacher --student --data --teacher-weights --student-weights "
        "--epochs --temperature --alpha --views --baseline",
        finetune: "--model --weights --data --epochs",
        export: "--model --weights --to --data",
        evaluation: "--model --weights --data",
    }
    made = Parser(prog="x")
    verb.add_arguments(made)  # type: ignore[attr-defined]
    flags = {flag for action in made._actions for flag in action.option_strings}
    assert set(promised[verb].split()) <= flags  # type: ignore[index]


def test_a_whole_number_keeps_to_its_bounds() -> None:
    convert = whole(1, 4)
    assert [convert(each) for each in ("1", "4")] == [1, 4]
    for text in ("0", "5", "2.0", "", "two"):
        with pytest.raises(argparse.ArgumentTypeError, match="from 1 to 4"):
            convert(text)


def test_only_what_is_near_is_proposed() -> None:
    """Dashes are no likeness: `--alpha` is not `--help`."""
    assert meant("--modl", ["--model", "--help"]) == "did you mean '--model'?"
    assert meant("--alpha", ["--model", "--help"]) is None
