"""Images as a network reads them, batch after batch, as often as they are asked for."""

from collections.abc import Callable, Iterator
from operator import length_hint
from typing import Final

from torch import Tensor

from compress.context.progress import Counted
from compress.data.batches import evaluation_batches
from compress.data.data import Images
from compress.models.model import Model

_BATCH: Final = 16


def batches_of(model: Model, images: Images) -> Callable[[], Iterator[Tensor]]:
    """What gives `images` as the network reads them, batch after batch, anew each time.

    Batches are float32 [n, 3, size, size]; only one of them is in memory.
    """

    def batches() -> Iterator[Tensor]:
        shown = evaluation_batches(images, _BATCH)
        prepared = (model.prepare(batch.pixels) for batch in shown)
        return Counted(prepared, length_hint(shown))

    return batches
