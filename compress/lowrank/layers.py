"""Layers that can be split: which they are, and what a split of them looks like."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from compress.lowrank.products import (
    Basis,
    Spectrum,
    halves,
    mode_spectrum,
    spectrum,
    tucker2,
    weighed,
)
from compress.models.surgery.factorize import factors
from compress.models.surgery.record import Factorized
from runtime.errors import RecipeError

Kind = Literal["linear", "conv1x1", "tucker2"]


def kind_of(layer: nn.Module) -> Kind | None:
    """How a layer can be split; None where it cannot.

    Convolutions of groups are thin already. Padding of a 1x1 convolution, or with
    anything but zeros, would not commute with the product.
    """
    if type(layer) is nn.Linear:
        return "linear"
    if (
        not isinstance(layer, nn.Conv2d)
        or layer.groups > 1
        or layer.padding_mode != "zeros"
    ):
        return None
    if layer.kernel_size != (1, 1):
        return "tucker2"
    return "conv1x1" if layer.padding in ((0, 0), "valid", "same") else None


def splittable(net: nn.Module, wanted: Collection[str]) -> dict[str, nn.Module]:
    """The layers of `net` that can be split, by name, in the order of the modules.

    wanted: layers, or modules whose layers are meant; empty for all. A name that holds
    no such layer is a RecipeError.
    """
    known = {
        name: module
        for name, module in net.named_modules()
        if kind_of(module) is not None
    }
    for name in wanted:
        if not any(_within(each, name) for each in known):
            raise RecipeError(
                f"layers: {name!r} is, or holds, no layer that can be split; known: "
                f"{', '.join(known) or 'none'}"
            )
    return {
        name: module
        for name, module in known.items()
        if not wanted or any(_within(name, each) for each in wanted)
    }


@dataclass(frozen=True, kw_only=True)
class Split:
    """A layer with the spectra that its ranks are chosen by.

    after: of the responses; before: of a kernel's inputs, unless it is 1x1; kept: the
    directions of the responses that a product keeps, however many.
    """

    name: str
    layer: nn.Module
    kind: Kind
    after: Spectrum
    kept: Basis
    before: Spectrum | None = None

    def ranked(self, energy: float, *, multiple: int) -> Factorized:
        """The least ranks that keep `energy`, each up to a multiple of channels."""
        spectra = [self.after] if self.before is None else [self.before, self.after]
        ranks = tuple(
            min(len(each.energies), -(-each.rank_for(energy) // multiple) * multiple)
            for each in spectra
        )
        if self.kind != "tucker2":  # nor can there be more than inputs
            ranks = (min(ranks[0], weight_of(self.layer).shape[1]),)
        return Factorized(kind=self.kind, ranks=ranks)

    def energy_of(self, how: Factorized) -> float:
        """The share of the energy that these ranks keep."""
        kept = self.after.share_of(how.ranks[-1])
        return (
            kept if self.before is None else kept * self.before.share_of(how.ranks[0])
        )

    def bare(self, how: Factorized) -> nn.Sequential:
        """Layers of the sizes that `how` gives, to be counted or timed."""
        return factors(self.layer, how)

    def made(self, how: Factorized) -> nn.Sequential:
        """The layers that take the place of this one, with its weights."""
        product = self.bare(how)
        weight = weight_of(self.layer).detach()
        if how.kind == "tucker2":
            inputs, outputs = how.ranks
            found = tucker2(weight, self.kept, inputs=inputs, outputs=outputs)
            parts: tuple[Tensor, ...] = (found.inputs.T, found.core, found.outputs)
        else:
            second, first = halves(weight.flatten(1), self.kept, rank=how.ranks[0])
            parts = (first, second)
        with torch.no_grad():
            for module, values in zip(product, parts, strict=True):
                target = weight_of(module)
                target.copy_(values.reshape(target.shape))
            bias = cast("Tensor | None", self.layer.bias)
            if bias is not None:
                cast("Tensor", product[-1].bias).copy_(bias)
        return product


def weight_of(layer: nn.Module) -> Tensor:
    """The weight of a layer that can be split, or of a part of one."""
    return cast("Tensor", layer.weight)


def spectra_of(
    name: str, layer: nn.Module, responses: Tensor, weights: Tensor | None = None
) -> Split:
    """What the ranks of `layer` are chosen by, and what is kept at any of them.

    responses: second moments [o, o] of what it gives; weights: how bad errors of it are
    [o, o], as `weighed` takes them; by default all are alike.
    """
    kind = cast("Kind", kind_of(layer))
    before = None
    if kind == "tucker2":
        before = mode_spectrum(weight_of(layer).detach(), axis=1)
    after = spectrum(responses)
    kept = after.basis() if weights is None else weighed(responses, weights)
    return Split(
        name=name, layer=layer, kind=kind, after=after, kept=kept, before=before
    )


def _within(name: str, module: str) -> bool:
    """Whether a layer is `module`, or somewhere in it."""
    return name == module or name.startswith(f"{module}.")
