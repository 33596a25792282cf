"""The images that ranges are measured on: never those that judge the result."""

from collections.abc import Callable, Iterator
from operator import length_hint
from typing import Final

import numpy as np
from torch import Tensor

from compress.context.context import RunContext
from compress.context.progress import Counted
from compress.data.batches import evaluation_batches
from compress.data.data import Images
from compress.data.dataset import Catalog, find
from compress.data.spec import DataSpec
from compress.data.split import stratified
from compress.models.model import Model
from runtime.errors import InputRejectedError
from runtime.preprocess import Preprocess

_BATCH: Final = 16


def calibration_images(
    model: Model, data: Catalog, context: RunContext, *, source: str | None, count: int
) -> Images:
    """What `model` is calibrated on; see `chosen_images`."""
    return chosen_images(data, model.preprocess, context, source=source, count=count)


def chosen_images(
    data: Catalog,
    preprocess: Preprocess,
    context: RunContext,
    *,
    source: str | None,
    count: int,
) -> Images:
    """`count` images, every class by its share, the same for the same seed.

    From `source`, or else from the training images of `data`. Too few classes, or no
    images that are not for judging, are an InputRejectedError.
    """
    known = data
    if source is not None:
        spec = DataSpec(source=source)
        known = find(
            spec, seed=context.seed, console=context.console, cache=context.cache
        )
    elif data.train is None:
        raise InputRejectedError(
            f"calibration: {data.name} has no training images, and those it has are "
            "for judging; name others with --calib"
        )
    opened = known.open(preprocess)
    images = opened.train if opened.train is not None else opened.val
    if images is None or len(images) == 0:
        raise InputRejectedError(f"calibration: {known.name} holds no images")
    seen = len(np.unique(images.labels))
    if seen == 1 and len(data.classes) > 1:
        raise InputRejectedError(
            f"calibration: all {len(images)} images of {known.name} are of one class; "
            "ranges would fit that class alone; give images of several"
        )
    images = drawn(images, count, seed=context.seed)
    if source is not None:
        _warn_of_overlap(images, data.images(preprocess), context)
    return images


def batches_of(model: Model, images: Images) -> Callable[[], Iterator[Tensor]]:
    """What gives `images` as the network reads them, batch after batch, anew each time.

    Batches are float32 [n, 3, size, size]; only one of them is in memory.
    """

    def batches() -> Iterator[Tensor]:
        shown = evaluation_batches(images, _BATCH)
        prepared = (model.prepare(batch.pixels) for batch in shown)
        return Counted(prepared, length_hint(shown))

    return batches


def drawn(images: Images, count: int, *, seed: int) -> Images:
    """At most `count` of `images`, every class by its share if it can have one."""
    if len(images) <= count:
        return images
    if count >= len(np.unique(images.labels)):
        rows = stratified(images.labels, count, seed=seed, purpose="calibrate")
    else:
        rng = np.random.default_rng(seed)
        rows = rng.choice(len(images), count, replace=False)
    return images.taken(np.sort(rows))


def _warn_of_overlap(images: Images, judging: Images, context: RunContext) -> None:
    """Say so if images of the calibration are also judged by."""
    judged = {row.tobytes() for row in _middle_rows(judging)}
    shared = sum(row.tobytes() in judged for row in _middle_rows(images))
    if shared:
        context.console.tell(
            f"calibration: warning: {shared} of {len(images)} images are also among "
            "those that judge the result, which flatters it"
        )


def _middle_rows(images: Images) -> Iterator[np.ndarray]:
    """The middle line of pixels of each image, enough to tell images apart."""
    middle = images.pixels.shape[1] // 2
    rows = (np.array([row]) for row in range(len(images)))
    return (np.ascontiguousarray(images.read(row)[0, middle]) for row in rows)
