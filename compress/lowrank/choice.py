"""Which layers are split and to which ranks: by energy or measured latency."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from torch import nn

from compress.context.progress import passed
from compress.evaluation.costs import count_params
from compress.lowrank.layers import Split, weight_of
from compress.models.surgery.record import Factorized
from runtime.errors import RecipeError

# Latencies, ms, of the candidates for a layer's place, the layer itself first.
Race = Callable[[str, Sequence[nn.Module]], Sequence[float]]

# Ranks that are tried where latency decides, as shares of those that save nothing.
_SHARES: Final = (0.8, 0.6, 0.45, 0.3, 0.2, 0.12)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What becomes of a layer: its ranks, or None and why it stays whole.

    energy: the share of the variance of its responses, times that of its kernel's
    inputs, that is kept. ms: measured latency of one image, before and after; None
    where nothing was timed.
    """

    split: Split
    how: Factorized | None
    energy: float = 1.0
    params: int
    ms_before: float | None = None
    ms_after: float | None = None
    reason: str = ""

    def as_record(self) -> dict[str, object]:
        """Plain data, for reports."""
        return {
            "name": self.split.name,
            "kind": self.split.kind,
            "ranks": None if self.how is None else list(self.how.ranks),
            "energy": self.energy,
            "params_before": count_params(self.split.layer),
            "params": self.params,
            "ms_before": self.ms_before,
            "ms_after": self.ms_after,
            "reason": self.reason,
        }


def whole(split: Split, reason: str, ms: float | None = None) -> Choice:
    """A layer that stays as it is."""
    params = count_params(split.layer)
    return Choice(
        split=split, how=None, params=params, ms_before=ms, ms_after=ms, reason=reason
    )


def by_energy(
    splits: Sequence[Split], energy: float, *, multiple: int, race: Race
) -> list[Choice]:
    """The least ranks that keep `energy` of each layer, where that is a gain.

    A product with no fewer weights, or one that is measured to be no faster, is
    refused: the layer stays.
    """
    found = []
    for split in passed("timing layers", splits, timing=True):
        how = split.ranked(energy, multiple=multiple)
        candidate = _candidate(split, how)
        if candidate.params >= count_params(split.layer):
            found.append(whole(split, f"{_told(how)} would save no weights"))
            continue
        before, after = race(split.name, [split.layer, split.bare(how)])
        if after < before:
            found.append(_timed(candidate, before, after))
        else:
            reason = f"{_told(how)} would take {after:.3f} ms instead of {before:.3f}"
            found.append(whole(split, reason, before))
    return found


def by_latency(
    splits: Sequence[Split],
    share: float,
    *,
    multiple: int,
    race: Race,
    network_ms: float,
) -> list[Choice]:
    """Ranks with which the network takes `share` of its `network_ms`, as predicted.

    Layers are timed alone at several ranks; the one that loses least energy for a
    millisecond goes down first (Zhang et al. 2016, section 3.3), until the sum is low
    enough. Where it never is, a RecipeError says how low it got.
    """
    options = [
        _options(split, multiple=multiple, race=race)
        for split in passed("timing layers", splits, timing=True)
    ]
    chosen = [each[0] for each in options]
    saved = 0.0
    wanted = (1 - share) * network_ms
    while saved < wanted:
        moves = [
            (_price(now, other), place, other)
            for place, now in enumerate(chosen)
            for other in options[place]
            if _ms(other) < _ms(now)
        ]
        if not moves:
            raise RecipeError(
                f"latency: {share} of {network_ms:.3f} ms is out of reach; with every "
                f"layer at its lowest rank it is about {1 - saved / network_ms:.2f}; "
                "allow more, or name more --layers"
            )
        _, place, other = min(moves, key=lambda move: move[:2])
        saved += _ms(chosen[place]) - _ms(other)
        chosen[place] = other
    return chosen


def _options(split: Split, *, multiple: int, race: Race) -> list[Choice]:
    """The layer itself, and every product of it that is measured to be faster."""
    hows = [_shared(split, share, multiple=multiple) for share in _SHARES]
    candidates = [
        candidate
        for how in dict.fromkeys(hows)
        if (candidate := _candidate(split, how)).params < count_params(split.layer)
    ]
    products = [split.bare(each.how) for each in candidates if each.how is not None]
    before, *after = race(split.name, [split.layer, *products])
    faster = [
        _timed(candidate, before, ms)
        for candidate, ms in zip(candidates, after, strict=True)
        if ms < before
    ]
    reason = "fast enough as it is" if faster else "no rank that was timed is faster"
    return [whole(split, reason, before), *faster]


def _shared(split: Split, share: float, *, multiple: int) -> Factorized:
    """Ranks of about `share` of those at which a product has as many weights."""
    outputs, inputs = weight_of(split.layer).shape[:2]
    sizes = [inputs, outputs]
    if split.kind != "tucker2":
        sizes = [outputs * inputs // (outputs + inputs)]
    ranks = tuple(
        min(size, max(multiple, round(share * size / multiple) * multiple))
        for size in sizes
    )
    return Factorized(kind=split.kind, ranks=ranks)


def _candidate(split: Split, how: Factorized) -> Choice:
    """What these ranks would come to, nothing timed yet."""
    params = count_params(split.bare(how))
    return Choice(split=split, how=how, energy=split.energy_of(how), params=params)


def _timed(choice: Choice, before: float, after: float) -> Choice:
    """The same with what was measured."""
    return replace(choice, ms_before=before, ms_after=after)


def _ms(choice: Choice) -> float:
    """What a choice costs; every option was timed."""
    return choice.ms_after or 0.0


def _price(now: Choice, other: Choice) -> float:
    """Energy lost, on a logarithmic scale, for a millisecond gained."""
    lost = math.log(max(now.energy, 1e-12)) - math.log(max(other.energy, 1e-12))
    return max(lost, 0.0) / (_ms(now) - _ms(other))


def _told(how: Factorized) -> str:
    """Ranks in a word."""
    return f"rank {' and '.join(map(str, how.ranks))}"


def split_up(chosen: Sequence[Choice]) -> Mapping[str, Factorized]:
    """The layers that are split, by name."""
    return {each.split.name: each.how for each in chosen if each.how is not None}
