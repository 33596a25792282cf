"""Models by whatever name: saved ones know their classes, others keep their size."""

from dataclasses import replace
from pathlib import Path

import pytest

from compress.context.console import Console
from compress.context.context import RunContext
from compress.data.dataset import Catalog, find
from compress.data.spec import DataSpec
from compress.models.checkpoint import save_model
from compress.models.opening import is_trained_for, open_model
from compress.models.spec import ModelSpec
from runtime.errors import RecipeError


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    """A context that says nothing."""
    return RunContext(
        folder=tmp_path, cache=tmp_path, console=Console(verbosity="quiet")
    )


@pytest.fixture
def digits(context: RunContext) -> Catalog:
    """Ten classes, 8x8 pixels."""
    return find(DataSpec(), seed=0, console=context.console, cache=context.cache)


def test_a_network_that_is_only_exported_keeps_its_own_size_and_head(
    context: RunContext, digits: Catalog
) -> None:
    """MobileNetV3-Small was published for 224x224 and 1000 classes."""
    spec = ModelSpec(name="mobilenetv3_small_050")

    kept = open_model(spec, digits, context, size=None, adapt=False)
    adapted = open_model(spec, digits, context, size=None, adapt=True)

    assert (kept.preprocess.size, len(kept.classes)) == (224, 1000)
    assert (adapted.preprocess.size, len(adapted.classes)) == (48, 10)


def test_weights_that_are_random_are_said_to_be(
    context: RunContext, digits: Catalog, capsys: pytest.CaptureFixture[str]
) -> None:
    told = replace(context, console=Console())

    open_model(ModelSpec(name="lenet5"), digits, told, size=None, adapt=False)

    assert "lenet5: has no weights, so it answers at random" in capsys.readouterr().err


def test_a_saved_model_is_trained_for_its_own_classes_only(
    context: RunContext, digits: Catalog
) -> None:
    """Ten classes are not the same ten classes: a teacher of these must learn first."""
    model = open_model(ModelSpec(name="lenet5"), digits, context, size=None, adapt=True)
    save_model(model, context.folder / "own")
    other = replace(model, classes=tuple("abcdefghij"))
    save_model(other, context.folder / "other")

    again = open_model(
        ModelSpec(name=str(context.folder / "other")),
        digits,
        context,
        size=None,
        adapt=True,
    )

    file = ModelSpec(name=str(context.folder / "own" / "model.safetensors"))

    assert is_trained_for(file, digits)
    assert again.classes == digits.classes  # what it will answer once it has learnt
    assert is_trained_for(ModelSpec(name=str(context.folder / "own")), digits)
    assert not is_trained_for(ModelSpec(name=str(context.folder / "other")), digits)


def test_a_folder_without_a_model_is_no_model(
    context: RunContext, digits: Catalog
) -> None:
    spec = ModelSpec(name=str(context.folder))

    with pytest.raises(RecipeError, match="holds no saved model"):
        open_model(spec, digits, context, size=None, adapt=False)
