"""A quantized network on the grids that a target's kernels read, chosen for them."""

from dataclasses import dataclass, field, replace
from typing import Final

from compress.context.context import RunContext
from compress.data.calibration import batches_of, calibration_images
from compress.data.dataset import Catalog
from compress.int8.simulate import QuantizedNet
from compress.pipeline.export_plan import PlannedFile
from compress.quantization.symmetric import halved, mirrored, symmetric
from compress.recipe.ptq import Ptq
from compress.recipe.recipe import Recipe

_IMAGES: Final = Ptq().calib_images


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Which images ranges are measured on: a source's, or else the training ones."""

    source: str | None = None
    count: int = _IMAGES


def calibration_of(recipe: Recipe) -> Calibration:
    """The images that a recipe quantizes by; the usual ones where it does not."""
    found = Calibration()
    for _, stage in recipe.steps():
        if isinstance(stage, Ptq):
            found = Calibration(source=stage.calib, count=stage.calib_images)
    return found


@dataclass(frozen=True, kw_only=True)
class TargetGrids:
    """Gives networks the grids of the target that a file is for; each net only once."""

    data: Catalog
    context: RunContext
    calibration: Calibration
    _kept: dict[int, QuantizedNet] = field(default_factory=dict)

    def chosen(self, asked: PlannedFile) -> PlannedFile:
        """`asked` of the network as its target computes it: one graph, other grids.

        Where no images but those for judging are at hand, ranges stay what they are.
        """
        net, target = asked.model.net, asked.target
        if target is None or not target.rounds_reads:
            return asked
        if asked.dtype != "int8" or not isinstance(net, QuantizedNet):
            return asked
        if id(net) not in self._kept:
            self._kept[id(net)] = self._made(asked, net, target.name)
        fit = self._kept[id(net)]
        return replace(
            asked, model=asked.model.with_net(halved(fit) if asked.half else fit)
        )

    def _made(self, asked: PlannedFile, net: QuantizedNet, target: str) -> QuantizedNet:
        """The network on grids about 0."""
        model, source = asked.model, self.calibration.source
        if source is None and self.data.train is None:
            self.context.console.tell(
                f"grids: {target} knows no zero points, and {self.data.name} has no "
                "images to calibrate on: each range is widened to lie about 0"
            )
            return mirrored(net)
        images = calibration_images(
            model, self.data, self.context, source=source, count=self.calibration.count
        )
        self.context.console.tell(
            f"grids: {target} knows no zero points: calibrating about 0 on "
            f"{len(images)} images"
        )
        return symmetric(net, batches_of(model, images))
