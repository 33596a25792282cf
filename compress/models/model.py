"""A network together with what one must know to feed it and to build it again."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F  # noqa: N812  # the field's name for it
from torch import Tensor, nn

from compress.models.spec import ModelSpec
from compress.models.surgery.record import Surgery
from runtime.preprocess import Preprocess


@dataclass(frozen=True, kw_only=True)
class Model:
    """A network, its preprocessing, its labels, and the spec that rebuilds it.

    `spec.surgery` says how the network differs from the architecture of that name.
    """

    spec: ModelSpec
    net: nn.Module
    preprocess: Preprocess
    classes: tuple[str, ...]
    trained: bool = False  # whether its weights come from an earlier training
    # How its tensors lie in memory; see compress.models.memory_format.
    memory_format: torch.memory_format = torch.channels_last

    def with_net(self, net: nn.Module) -> "Model":
        """The same model around another network."""
        return replace(self, net=net)

    @property
    def surgery(self) -> Surgery:
        """What was cut out of the architecture, split or masked."""
        return self.spec.surgery

    def operated(self, net: nn.Module, surgery: Surgery) -> "Model":
        """The same model around `net`, which is the architecture after `surgery`."""
        return replace(self, net=net, spec=self.spec.with_surgery(surgery))

    def prepare(self, pixels: Tensor, *, size: int | None = None) -> Tensor:
        """Normalize `pixels` for this network.

        pixels: uint8 [n, 3, h, w]; returned: float32 [n, 3, size, size], in the
        network's memory format. Pixels of another size are resized with antialiasing,
        so that a teacher and its student may look at one view at different resolutions.
        """
        side = self.preprocess.size if size is None else size
        images = pixels.to(torch.float32)
        if images.shape[-2:] != (side, side):
            images = F.interpolate(
                images,
                size=(side, side),
                mode=self.preprocess.interpolation,
                antialias=True,
                align_corners=False,
            ).clamp_(0, 255)
        mean = images.new_tensor(self.preprocess.mean).view(1, 3, 1, 1)
        std = images.new_tensor(self.preprocess.std).view(1, 3, 1, 1)
        scaled = (images / 255 - mean) / std
        return scaled.contiguous(memory_format=self.memory_format)
