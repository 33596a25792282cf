"""`compress models`: what is listed, and how fast."""

import argparse
import json
import subprocess
import sys

import pytest

from compress.cli.verbs import models
from compress.context.console import Console
from compress.evaluation.listing import list_models
from compress.models.zoo import ZOO
from runtime.errors import RecipeError


def test_the_usual_list_needs_no_torch() -> None:
    """The table is literal, so that listing costs nothing."""
    code = (
        "import sys, argparse; from compress.context.console import Console; "
        "from compress.cli.verbs.models import execute; "
        "print(execute(argparse.Namespace(pattern=None), Console()).as_json()); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)

    rows = json.loads(done.stdout)
    assert [row["name"] for row in rows] == [row.name for row in ZOO]
    assert set(rows[0]) == {"name", "params", "macs", "input_size", "source"}


def test_a_pattern_also_finds_what_is_not_in_the_list(console: Console) -> None:
    """resnet18d (He et al. 2019, "bag of tricks") has 11.71 M parameters."""
    rows = {row.name: row for row in list_models("resnet18*", console=console)}

    assert {"resnet18", "resnet18d", "torchvision/resnet18"} <= rows.keys()
    assert rows["resnet18d"].params == pytest.approx(11.71e6, rel=1e-3)
    assert rows["torchvision/resnet18"].params == rows["resnet18"].params


def test_the_text_fits_into_eighty_columns(console: Console) -> None:
    """A table that wraps is none."""
    options = argparse.Namespace(pattern="lenet5")

    text = models.execute(options, console).as_text()

    assert "lenet5" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_a_pattern_that_finds_nothing_is_an_error(console: Console) -> None:
    """Exit code 2 rather than an empty table."""
    with pytest.raises(RecipeError, match="no architecture matches 'qqq'"):
        models.execute(argparse.Namespace(pattern="qqq"), console)
