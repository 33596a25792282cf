"""Weights as products of thinner ones: by the responses they give, and Tucker-2."""

from typing import NamedTuple

import torch
from torch import Tensor


class Spectrum(NamedTuple):
    """Orthonormal directions [n, n], as columns, and their energies [n], falling."""

    energies: Tensor
    directions: Tensor

    def rank_for(self, energy: float) -> int:
        """The fewest directions that hold the share `energy` of the whole."""
        reached = self.energies.cumsum(0) / self.energies.sum().clamp(min=1e-30)
        return min(len(reached), int((reached < energy).sum()) + 1)

    def share_of(self, rank: int) -> float:
        """The share of the energy in the first `rank` directions."""
        return float(self.energies[:rank].sum() / self.energies.sum().clamp(min=1e-30))


class Tucker(NamedTuple):
    """A kernel as inputs [i, r1], core [r2, r1, h, w] and outputs [o, r2]."""

    inputs: Tensor
    core: Tensor
    outputs: Tensor

    def kernel(self) -> Tensor:
        """What the three come to, [o, i, h, w]."""
        return torch.einsum("ba,oB,Bahw->obhw", self.inputs, self.outputs, self.core)


def spectrum(moments: Tensor) -> Spectrum:
    """The directions of a symmetric matrix [n, n] without negative energies."""
    energies, directions = torch.linalg.eigh(moments / moments.trace().clamp(min=1e-30))
    return Spectrum(energies.flip(0).clamp(min=0), directions.flip(1))


def halves(weight: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """The product A [o, r] B [r, i] next to `weight` W [o, i], seen by its responses.

    directions: the first r [o, r] of the responses' second moments, E[(Wx)(Wx)^T].
    A B = U U^T W minimises E|Wx - A B x|^2 over all products of rank r: the best rank-r
    approximation of responses is their projection (Eckart and Young 1936; Zhang et al.
    2016, section 3.1). With E[x x^T] = I it is the singular value decomposition.
    """
    return directions, directions.T @ weight


def tucker2(kernel: Tensor, directions: Tensor, *, inputs: int) -> Tucker:
    """The kernel [o, i, h, w] with `inputs` channels before its core.

    directions: of the responses [o, r2]; the outputs are projected on them, as in
    `halves`. The inputs' basis is then the best one for what is left of the kernel: a
    half-step of the alternation that Tucker-2 is computed by (De Lathauwer et al. 2000;
    Kim et al. 2016 for convolutions), the other half being given by the responses.
    """
    seen = torch.einsum("oihw,ob->bihw", kernel, directions)
    before = mode_spectrum(seen, axis=1).directions[:, :inputs]
    core = torch.einsum("bihw,ia->bahw", seen, before)
    return Tucker(before, core, directions)


def mode_spectrum(kernel: Tensor, *, axis: int) -> Spectrum:
    """How the energy of a kernel spreads over the directions of one axis."""
    rows = kernel.movedim(axis, 0).flatten(1)
    return spectrum(rows @ rows.T)
