"""Weights as products of thinner ones: by the responses they give, and Tucker-2."""

from typing import Final, NamedTuple

import torch
from torch import Tensor

# Alternating steps after which a Tucker core hardly changes (Kim et al. 2016 need none
# to start from; De Lathauwer et al. 2000 see convergence within a few).
_SWEEPS: Final = 3


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


def tucker2(kernel: Tensor, *, inputs: int, outputs: int) -> Tucker:
    """The kernel [o, i, h, w] with `inputs` and `outputs` channels at its core.

    Higher-order SVD, then orthogonal iteration: each basis is the best one for the
    other (De Lathauwer et al. 2000; Kim et al. 2016 for convolutions).
    """
    before = mode_spectrum(kernel, axis=1).directions[:, :inputs]
    after = mode_spectrum(kernel, axis=0).directions[:, :outputs]
    for _ in range(_SWEEPS):
        seen = torch.einsum("oihw,ia->oahw", kernel, before)
        after = mode_spectrum(seen, axis=0).directions[:, :outputs]
        seen = torch.einsum("oihw,ob->bihw", kernel, after)
        before = mode_spectrum(seen, axis=1).directions[:, :inputs]
    core = torch.einsum("oihw,ia,ob->bahw", kernel, before, after)
    return Tucker(before, core, after)


def mode_spectrum(kernel: Tensor, *, axis: int) -> Spectrum:
    """How the energy of a kernel spreads over the directions of one axis."""
    rows = kernel.movedim(axis, 0).flatten(1)
    return spectrum(rows @ rows.T)
