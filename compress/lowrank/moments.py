"""What layers give on calibration images, and what an error of it does to answers."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from compress.context.progress import passed
from compress.lowrank.layers import weight_of
from compress.lowrank.responses import rows_of, watched
from compress.quantization.calibrate import Batches

# Responses on few images span few directions. What they say is blended with what the
# weights would give on inputs that are alike in all directions, as by so many images;
# and every direction is held to matter at least so much, as a share of the mean.
_PRIOR_IMAGES: Final = 4.0
_PRIOR_WEIGHT: Final = 0.1
# Images whose graph is kept for gradients at once.
_AT_ONCE: Final = 8


class Moments(NamedTuple):
    """Second moments [o, o] of one layer: of its responses, and of what they do.

    responses: about the mean where the layer has a bias, which makes up for that;
    weights: of the gradients at them of answers drawn from what the network says, so
    that an error e takes about e^T G e / 2 nats from the answers (Fisher's information;
    Martens and Grosse 2015 keep the same matrix of a layer's outputs). None where a
    layer gives more than one vector for an image: errors at neighboring places are
    alike and add up, which gradients at one place do not tell.
    """

    responses: Tensor
    weights: Tensor | None


def moments_of(
    net: nn.Module, layers: Mapping[str, nn.Module], images: Batches, *, seed: int = 0
) -> dict[str, Moments]:
    """The moments of each of `layers`, in the order of their work.

    images: float32 [n, 3, size, size] batches, gone through once.
    """
    sums: dict[str, _Sums] = {}
    images_seen = 0
    read: list[Tensor] = []

    def watch(name: str, layer: nn.Module, given: Tensor, found: Tensor) -> None:
        if name not in sums:
            sums[name] = _Sums(layer)
        kept = sums[name]
        rows = kept.see_(given.detach(), found.detach())
        if rows == len(found) and given.requires_grad:
            # Not asked for at `found` itself, which ReLU may write over.
            read.append(given)
            found.register_hook(kept.feel_)  # type: ignore[no-untyped-call]  # torch's

    chance = torch.Generator().manual_seed(seed)
    with watched(layers, watch), torch.enable_grad():
        for batch in passed("moments of what layers give", images()):
            for part in torch.split(batch, _AT_ONCE):
                answers = net(part.clone().requires_grad_())
                if read:
                    said = answers.detach().softmax(dim=1)
                    drawn = torch.multinomial(said, 1, generator=chance)[:, 0]
                    loss = cross_entropy(answers, drawn, reduction="sum")
                    torch.autograd.grad(loss, read, allow_unused=True)
                    read.clear()
                images_seen += len(part)
    return {name: kept.moments(images=images_seen) for name, kept in sums.items()}


class _Sums:
    """Sums of one layer over images and places."""

    def __init__(self, layer: nn.Module) -> None:
        """Nothing seen."""
        channels = len(weight_of(layer))
        self.layer = layer
        self.squares = torch.zeros(channels, channels, dtype=torch.float64)
        self.gradients = torch.zeros_like(self.squares)
        self.total = torch.zeros(channels, dtype=torch.float64)
        self.inputs = 0.0
        self.places = 0
        self.felt = False

    def see_(self, given: Tensor, found: Tensor) -> int:
        """Add what the layer was given and gave; the number of its places."""
        rows = rows_of(self.layer, found)
        self.squares += rows.T @ rows
        self.total += rows.double().sum(dim=0)
        self.inputs += float(given.double().square().mean()) * len(rows)
        self.places += len(rows)
        return len(rows)

    def feel_(self, gradient: Tensor) -> None:
        """Add the gradient at what the layer gave."""
        rows = rows_of(self.layer, gradient)
        self.gradients += rows.T @ rows
        self.felt = True

    def moments(self, *, images: int) -> Moments:
        """What they come to, blended with what is known without images."""
        weight = weight_of(self.layer).detach().flatten(1)
        alike = (weight @ weight.T).double() * (self.inputs / self.places)
        share = _PRIOR_IMAGES / (_PRIOR_IMAGES + images)
        found = self.squares / self.places
        if self.layer.bias is not None:
            mean = self.total / self.places
            found = found - torch.outer(mean, mean)
        blended = ((1 - share) * found + share * alike).float()
        if not self.felt:
            return Moments(blended, None)
        strength = self.gradients.diagonal().mean().clamp(min=1e-30)
        least = _PRIOR_WEIGHT * torch.eye(len(weight), dtype=torch.float64)
        return Moments(blended, (self.gradients / strength + least).float())
