"""Weights as products of thinner ones: by the responses they give, and Tucker-2."""

from typing import NamedTuple

import torch
from torch import Tensor


class Basis(NamedTuple):
    """Directions [n, n], as columns, the ones that matter most first, and readers.

    A reader tells how much of its direction there is in a vector, so that readers.T @
    directions = I; where directions are orthonormal, they are their own readers.
    """

    directions: Tensor
    readers: Tensor


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

    def basis(self) -> Basis:
        """The directions to keep if errors of one size are alike."""
        return Basis(self.directions, self.directions)


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


def weighed(moments: Tensor, weights: Tensor) -> Basis:
    """The directions to keep of y with E[y y^T] = C, where errors are not alike.

    weights: a positive matrix G [n, n]; an error e is as bad as e^T G e says. Of all
    projections P of rank r, the one on the first r directions minimizes
    E[(y - P y)^T G (y - P y)]: with G^1/2 C G^1/2 = U E U^T, these are G^-1/2 U, and
    their readers G^1/2 U.
    """
    strengths, axes = torch.linalg.eigh(weights / weights.diagonal().mean())
    roots = strengths.clamp(min=1e-12).sqrt()
    root, inverse = (axes * roots) @ axes.T, (axes / roots) @ axes.T
    found = spectrum(root @ moments @ root).directions
    return Basis(inverse @ found, root @ found)


def halves(weight: Tensor, basis: Basis, *, rank: int) -> tuple[Tensor, Tensor]:
    """The product A [o, r] B [r, i] next to `weight` W [o, i], seen by its responses.

    basis: of the responses, from their second moments E[(Wx)(Wx)^T] [o, o]. With
    orthonormal directions U, A B = U U^T W minimizes E|Wx - A B x|^2 over all products
    of rank r: the best rank-r approximation of responses is their projection (Eckart
    and Young 1936; Zhang et al. 2016, section 3.1). With E[x x^T] = I it is the
    singular value decomposition.
    """
    return basis.directions[:, :rank], basis.readers[:, :rank].T @ weight


def tucker2(kernel: Tensor, basis: Basis, *, inputs: int, outputs: int) -> Tucker:
    """The kernel [o, i, h, w] with `inputs` channels before its core, `outputs` after.

    basis: of the responses [o, o]; the outputs are projected on its directions, as in
    `halves`. The inputs' basis is then the best one for what is left of the kernel: a
    half-step of the alternation that Tucker-2 is computed by (De Lathauwer et al. 2000;
    Kim et al. 2016 for convolutions), the other half being given by the responses.
    """
    seen = torch.einsum("oihw,ob->bihw", kernel, basis.readers[:, :outputs])
    before = mode_spectrum(seen, axis=1).directions[:, :inputs]
    core = torch.einsum("bihw,ia->bahw", seen, before)
    return Tucker(before, core, basis.directions[:, :outputs])


def mode_spectrum(kernel: Tensor, *, axis: int) -> Spectrum:
    """How the energy of a kernel spreads over the directions of one axis."""
    rows = kernel.movedim(axis, 0).flatten(1)
    return spectrum(rows @ rows.T)
