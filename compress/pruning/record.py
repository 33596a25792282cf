"""What a stage that cut channels and blocks writes down of it, for the report."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from compress.models.model import Model
    from compress.recipe.prune import Prune

# In the stage's folder as `written` has it, and beside each cut as a `PruningStep`.
RECORD: Final = "pruning.json"


class PruningStep(BaseModel):
    """One cut: what it left, and what it changed.

    macs, params: of the network after it; flips: the share of the calibration images
    that are answered otherwise, before and after recovery; latency: `LatencyChoice`, in ms;
    spared: groups that stayed whole as the most sensitive; channels: before and after,
    of every other one that might be cut. Groups go by their first layers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    macs: float
    params: float
    flips_cut: float
    flips_recovered: float
    latency: Mapping[str, float] | None
    spared: tuple[str, ...]
    channels: tuple[tuple[str, int, int], ...]


def written(
    whole: "Model",
    made: "Model",
    options: "Prune",
    cuts: Sequence[PruningStep],
    *,
    as_shipped: bool = True,
) -> dict[str, object]:
    """The record of the stage: `whole` became `made` by `cuts`.

    as_shipped: whether `whole` itself is written as it was timed. Where it is not, the
    promise is held in milliseconds: the run measures no such file to take a share of.

    macs, params: of the whole network and what is left; groups: channels before the
    first cut and after the last, in the order of the layers; spared: those that stayed
    whole as the most sensitive; latency: what was promised of it.
    """
    from compress.context.latency_target import Promise
    from compress.evaluation.costs import count_macs, count_params

    promise = None
    if taken := cuts[-1].latency:
        promise = Promise(
            stage="prune",
            share=options.latency if as_shipped else None,
            wanted_ms=options.latency_ms or taken["wanted_ms"],
            predicted_ms=taken["predicted_ms"],
            whole_ms=taken["whole_ms"],
        )
    widths: dict[str, tuple[int, int]] = {}
    for each in cuts:
        for name, before, after in each.channels:
            widths[name] = (widths.get(name, (before, after))[0], after)
    order = {name: at for at, (name, _) in enumerate(whole.net.named_modules())}
    nets, size = (whole.net, made.net), whole.preprocess.size
    return {
        "criterion": options.criterion,
        "recover": options.recover,
        "removed": list(made.surgery.removed[len(whole.surgery.removed) :]),
        "macs": [count_macs(net, size=size) for net in nets],
        "params": [count_params(net) for net in nets],
        "groups": [
            {"name": name, "before": before, "after": after}
            for name, (before, after) in sorted(
                widths.items(), key=lambda pair: order.get(pair[0], 0)
            )
        ],
        "spared": list(cuts[-1].spared),
        "latency": promise.as_record() if promise else None,
        "steps": [each.model_dump(mode="json") for each in cuts],
        "surgery": made.surgery.model_dump(mode="json"),
    }
