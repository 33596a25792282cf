"""What each group of channels is worth: accuracy with a part of that group cut."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch

from compress.context.console import Console
from compress.context.context import RunContext, cache_folder
from compress.context.device import check_device
from compress.data.calibration import drawn
from compress.data.data import Images
from compress.data.dataset import Catalog, find
from compress.data.spec import DataSpec
from compress.evaluation.costs import accuracy
from compress.int8.simulate import QuantizedNet
from compress.models.model import Model
from compress.models.opening import open_model
from compress.models.spec import ModelSpec
from compress.pruning.budget import least_missed
from compress.pruning.criteria import Criterion, scores
from compress.pruning.cutting import cut
from compress.pruning.graph import groups_of
from compress.pruning.group import Group
from compress.pruning.group_check import proved
from compress.report import charts
from compress.report.columns import aligned, rule
from runtime.errors import Exit, RecipeError

PLOT: Final = "sensitivity.svg"
# Lines that a chart can tell apart, by their colors.
_COLORS: Final = ("c2", "c3", "c4", "c1")


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One group: top-1 by the share of its channels that is cut, nothing recovered."""

    name: str
    channels: int
    top1: dict[float, float]

    @property
    def loss(self) -> float:
        """How steeply it falls: the lowest point."""
        return min(self.top1.values())


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """The answer of `sensitivity`: fractions of `images`, the most sensitive first.

    judged_by: labels, or the whole network where the labels are for other classes.
    """

    model: str
    images: int
    judged_by: str
    whole: float
    curves: tuple[Curve, ...]
    exit_code: int = Exit.FIT

    def as_json(self) -> str:
        """Everything that was measured."""
        groups = [
            {"name": c.name, "channels": c.channels, "top1": c.top1}
            for c in self.curves
        ]
        facts = {
            "model": self.model,
            "images": self.images,
            "judged_by": self.judged_by,
            "whole": self.whole,
            "groups": groups,
        }
        return json.dumps(facts, indent=2)

    def as_text(self) -> str:
        """A table, one group a line, and what to spare."""
        shares = list(self.curves[0].top1)
        head = ("group", "channels", *(f"-{share:.0%}" for share in shares))
        rows = [
            (c.name, str(c.channels), *(f"{value:.1%}" for value in c.top1.values()))
            for c in self.curves
        ]
        spare = ",".join(c.name for c in self.curves[:3])
        return "\n".join(
            (
                (
                    f"{self.model}: top-1 {self.whole:.1%} of {self.images} images, "
                    f"judged by {self.judged_by};"
                ),
                "below, with a share of one group's channels cut and nothing recovered",
                rule(),
                *aligned([head, *rows]),
                rule(),
                f"most sensitive: compress prune --exclude {spare}",
            )
        )

    def drawn(self) -> str:
        """A chart of the most sensitive groups, as SVG."""
        lines = [
            charts.Line(
                label=curve.name,
                color=color,
                points=(
                    (0.0, 100 * self.whole),
                    *((100 * x, 100 * y) for x, y in curve.top1.items()),
                ),
            )
            for curve, color in zip(self.curves, _COLORS, strict=False)
        ]
        drawn = charts.curves(lines, x="channels cut, %", y="top-1, %", zero=True)
        return charts.standalone(drawn)


def sensitivity(  # noqa: PLR0913  # what, on what, how finely, and the shared flags
    spec: ModelSpec,
    data: DataSpec,
    *,
    images: int,
    ratios: Sequence[float],
    criterion: Criterion,
    seed: int,
    device: str,
    threads: int | None,
    console: Console,
) -> Sensitivity:
    """Cut each group of the model in turn, by each of `ratios`, and judge the rest."""
    check_device(device)
    if threads is not None:
        torch.set_num_threads(threads)
    context = RunContext(folder=Path(), seed=seed, device=device, console=console)
    catalog = find(data, seed=seed, console=console, cache=cache_folder())
    model = open_model(spec, catalog, context, size=data.size, adapt=False)
    if isinstance(model.net, QuantizedNet):
        raise RecipeError(
            f"sensitivity: {model.spec.name} is quantized; name the float model that "
            "it was made from"
        )
    shown, judged_by = _judged(model, catalog, images, seed, device)
    whole = _top1(model, shown, device)
    net, size = model.net.cpu(), model.preprocess.size
    groups = proved(net, groups_of(net, size=size, name=model.spec.name), size=size)
    rng = torch.Generator().manual_seed(seed)
    values = scores(net, groups.groups, criterion, rng=rng)
    return Sensitivity(
        model=model.spec.name,
        images=len(shown),
        judged_by=judged_by,
        whole=whole,
        curves=curves(
            model, groups.groups, values, shown, ratios=ratios, context=context
        ),
    )


def _judged(
    model: Model, data: Catalog, count: int, seed: int, device: str
) -> tuple[Images, str]:
    """Images, and labels that the network can be judged by, whoever gave them."""
    shown = drawn(data.images(model.preprocess), count, seed=seed)
    if data.judges(len(model.classes)):
        return shown, "labels"
    return answered(model, shown, device=device), "the whole network"


def answered(model: Model, shown: Images, *, device: str) -> Images:
    """The same images, labeled with what `model` says of them."""
    said: list[torch.Tensor] = []
    net = model.net.to(device)

    def note(pixels: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = net(model.prepare(pixels.to(device)))
        said.append(logits.argmax(1).cpu())
        return logits

    accuracy(note, shown)
    return replace(shown, labels=torch.cat(said).numpy())


def curves(  # noqa: PLR0913  # what is cut, in which order, and how it is judged
    model: Model,
    groups: Sequence[Group],
    values: Sequence[torch.Tensor],
    shown: Images,
    *,
    ratios: Sequence[float],
    context: RunContext,
) -> tuple[Curve, ...]:
    """One curve for each of `groups`, the most sensitive first.

    values: [units] of every group, what its units are worth. Judged on `context.device`.
    """
    found = []
    total = len(values) * len(ratios)
    with context.console.progress("sensitivity", total) as advance:
        for index, (group, value) in enumerate(zip(groups, values, strict=True)):
            top1 = {}
            for ratio in ratios:
                left = max(1, round(group.units * (1 - ratio)))
                thinner = cut(model.net, groups, {index: least_missed(value, left)})
                top1[ratio] = _top1(model.with_net(thinner), shown, context.device)
                advance(1, group.name)
            channels = group.units * group.unit_channels
            found.append(Curve(name=group.name, channels=channels, top1=top1))
    return tuple(sorted(found, key=lambda curve: curve.loss))


def _top1(model: Model, shown: Images, device: str) -> float:
    """The share that a network has right."""
    return accuracy(model.with_net(model.net.to(device)), shown).top1
