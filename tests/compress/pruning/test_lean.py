"""A lean network is warned of by what a small cut does to it, and spared a little."""

from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from compress.context.console import Console
from compress.context.context import RunContext
from compress.models.model import Model
from compress.pruning.depthwise_separable import protected_groups, separable, tried
from compress.pruning.graph import groups_of
from compress.pruning.group import Group
from compress.pruning.layout import Layout
from compress.recipe.prune import Prune

SIZE = 8


def net(*, depthwise: bool) -> nn.Module:
    """A stem, an expansion, a spatial layer, a projection, a classifier of three."""
    torch.manual_seed(0)
    layers = (
        *(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 32, 1), nn.ReLU()),
        nn.Conv2d(32, 32, 3, padding=1, groups=32 if depthwise else 1),
        *(nn.ReLU(), nn.Conv2d(32, 16, 1), nn.ReLU()),
    )
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3)
    ).eval()


def model(tiny: ModuleType, *, depthwise: bool) -> Model:
    """A model whose first expansion has a quarter of its channels to spare."""
    made: Model = tiny.model(net(depthwise=depthwise), size=SIZE)
    with torch.no_grad():
        for name in ("2", "4"):
            layer = made.net.get_submodule(name)
            layer.weight[:8], layer.bias[:8] = 0, 0  # type: ignore[index, operator]
        made.net.get_submodule("6").weight[:, :8] = 0  # type: ignore[index, operator]
        # Centered, so that there are answers of every kind, and near to each other.
        pixels = torch.from_numpy(tiny.images(48).pixels).permute(0, 3, 1, 2)
        made.net[10].bias -= made.net(made.prepare(pixels)).mean(0)  # type: ignore[index]
    return made


def groups(whole: Model) -> list[Group]:
    return groups_of(whole.net, size=SIZE, name="net")


@pytest.mark.parametrize("depthwise", [True, False])
def test_what_is_separable_is_counted_in_macs(
    tiny: ModuleType, *, depthwise: bool
) -> None:
    """The expansion, the depthwise layer and the projection, of all but the last."""
    whole = model(tiny, depthwise=depthwise)
    pixels = SIZE * SIZE
    near = pixels * (8 * 32 + 32 * 9 + 32 * 16)
    rest = pixels * 3 * 9 * 8

    found = separable(groups(whole), Layout(whole.net, [], size=SIZE).whole)

    assert found == (pytest.approx(near / (near + rest)) if depthwise else 0.0)


def test_the_groups_that_answers_depend_on_come_first(tiny: ModuleType) -> None:
    """A quarter of the expansion is zero, so cutting it changes no answer."""
    whole = model(tiny, depthwise=True)
    found = groups(whole)
    assert {group.name for group in found} == {"0", "4", "6"}

    trial = tried(
        whole, found, tiny.images(48), spare=0.3, context=RunContext(folder=Path())
    )

    assert trial.images == 48
    assert trial.curves[-1].name == "4"
    assert trial.curves[-1].loss == 1.0
    assert trial.spared == (trial.curves[0].name,)
    assert trial.curves[0].loss < 1.0


@pytest.mark.parametrize(
    ("depthwise", "options", "spared", "warned"),
    [
        (True, {}, 1, True),
        (True, {"spare": 0.0}, 0, True),
        (True, {"keep": ("0",)}, 0, True),
        (True, {"criterion": "reconstruction"}, 0, True),
        (True, {"spare": 0.99}, 2, True),
        (False, {}, 0, False),
        (False, {"spare": 0.1}, 1, False),
    ],
)
def test_what_is_spared_and_said_by_default(  # noqa: PLR0913, PLR0917
    tiny: ModuleType,
    capsys: pytest.CaptureFixture[str],
    depthwise: bool,
    options: dict[str, object],
    spared: int,
    warned: bool,
) -> None:
    """One sentence with what was measured; a network that is not lean gets none."""
    whole = model(tiny, depthwise=depthwise)
    context = RunContext(folder=Path(), console=Console())
    asked = Prune.model_validate({"ratio": 0.5} | options)

    layout = Layout(whole.net, groups(whole), size=whole.preprocess.size)
    found = protected_groups(whole, layout, tiny.images(24), asked, context)

    said = capsys.readouterr().err
    assert len(found) == spared
    assert ("warning: tiny is lean already, with 83% of its MACs in" in said) is warned
    count = len(groups(whole))
    told = f"{spared} of {count} groups stay whole" in said
    assert told is (warned or bool(spared))
