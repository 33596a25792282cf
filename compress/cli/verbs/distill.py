"""Teach a student what a teacher knows; export it, prove it, measure it."""

import argparse
from typing import TYPE_CHECKING, Final

from compress.cli.flags import Names, add_flags, given
from compress.cli.own_data import with_own_data
from compress.cli.verbs.one_stage import (
    add_recipe_flags,
    execute_recipe,
    model_flags,
    plain,
    recipe_of,
)
from compress.models.spec import ModelSpec

if TYPE_CHECKING:
    from compress.context.answer import Answer
    from compress.context.console import Console

STUDENT: Final = model_flags("--student", "--student-weights")
TEACHER: Final[Names] = {
    "name": "--teacher",
    "weights": "--teacher-weights",
    "ema": "--teacher-weights-ema",
    "width": "--teacher-width",
    "resolution": "--teacher-resolution",
    "stem": "--teacher-stem",
    "factory": "--teacher-file",
}


EXAMPLES: Final = (
    "compress distill --teacher resnet50 --student mobilenetv3",
    (
        "compress distill --teacher resnet50 --teacher-weights resnet50.pth "
        "--student efficientnet-lite0 --data folder:photos --epochs 60"
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags: the teacher, the student, and every key of the stage."""
    parser.usage = "compress distill --teacher T --student S [--data D] [options]"
    add_flags(parser, ModelSpec, title="teacher", names=TEACHER, prefix="teacher")
    add_recipe_flags(parser, stage="distill", model=STUDENT)


def execute(options: argparse.Namespace, console: "Console") -> "Answer":
    """Run the one-stage recipe that the flags describe."""
    options = with_own_data(options, console)
    teacher, student = given(options, "teacher"), given(options, "model")
    recipe = recipe_of(
        options,
        stage="distill",
        name=f"distill-{plain(teacher)}-{plain(student)}",
        model=STUDENT,
        teacher=TEACHER,
    )
    return execute_recipe(recipe, options, console)
