"""Batches: which images come when, the same for any number of workers and ranks."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from compress.context.progress import Counted
from compress.data.augment import Augment, augmented
from compress.data.data import Batch, Images
from compress.data.keyed_rng import shuffled
from runtime.resize import middle

# The view of an image as it is, without augmentation.
PLAIN_VIEW: Final = -1
_AHEAD: Final = 2  # batches that each worker keeps ready


def batch_count(images: int, *, batch_size: int, drop_last: bool) -> int:
    """How many batches an epoch of `images` has; never none."""
    whole, rest = divmod(images, batch_size)
    return max(1, whole if drop_last or not rest else whole + 1)


def batches(  # noqa: PLR0913  # what a batch depends on is spelt out, nothing is kept
    images: Images,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    view: int | None,
    augment: Augment | None,
    shuffle: bool,
    drop_last: bool,
    workers: int,
    rank: int = 0,
    world: int = 1,
    start: int = 0,
) -> Iterator[Batch]:
    """Give an epoch's batches, from number `start` on, without making those before.

    `batch_size` counts the images of all ranks: rank r of a world of w takes rows
    r, r + w, r + 2w … of each batch (none, if a last batch is that small). The order
    depends on (seed, epoch), an image's pixels on (seed, view, index), and nothing on
    `workers`: threads that prepare batches ahead, 0 for none. `view` None draws a
    fresh view every epoch. `drop_last` leaves an incomplete batch out unless it is the
    only one.
    """
    if batch_size < 1 or not 0 <= rank < world or start < 0 or workers < 0:
        raise ValueError(f"{batch_size=} {rank=} {world=} {start=} {workers=}")
    count = len(images)
    order = shuffled("order", seed, epoch, count) if shuffle else np.arange(count)
    steps = batch_count(count, batch_size=batch_size, drop_last=drop_last)
    drawn = view
    if drawn is None:
        drawn = PLAIN_VIEW if augment is None else epoch

    def made(step: int) -> Batch:
        rows = order[step * batch_size : (step + 1) * batch_size][rank::world]
        return _batch(images, rows, augment=augment, seed=seed, view=drawn)

    if workers == 0:
        return map(made, range(start, steps))
    return _ahead(made, range(start, steps), workers)


def evaluation_batches(images: Images, batch_size: int) -> Iterator[Batch]:
    """Give every image once, in order, as it is: view -1, no augmentation."""
    given = batches(
        images,
        batch_size=batch_size,
        seed=0,
        epoch=0,
        view=PLAIN_VIEW,
        augment=None,
        shuffle=False,
        drop_last=False,
        workers=0,
    )
    steps = batch_count(len(images), batch_size=batch_size, drop_last=False)
    return Counted(given, steps)


def _batch(
    images: Images,
    rows: npt.NDArray[np.int64],
    *,
    augment: Augment | None,
    seed: int,
    view: int,
) -> Batch:
    """Make one batch. rows: int64 [n]."""
    if augment is None or len(rows) == 0:
        begin = middle(images.pixels.shape[1], images.size)
        plain = images.read(rows, slice(begin, begin + images.size))
        pixels = torch.from_numpy(np.ascontiguousarray(plain)).permute(0, 3, 1, 2)
    else:
        pixels = augmented(images, rows, augment=augment, seed=seed, view=view)
    labels = torch.from_numpy(images.labels[rows])
    return Batch(torch.from_numpy(rows.copy()), view, pixels, labels)


def _ahead(made: Callable[[int], Batch], steps: range, workers: int) -> Iterator[Batch]:
    """Make batches in threads, a few ahead, and give them out in order."""
    pool = ThreadPoolExecutor(workers, "batches")
    ready: deque[Future[Batch]] = deque()
    try:
        for step in steps:
            ready.append(pool.submit(made, step))
            if len(ready) > _AHEAD * workers:
                yield ready.popleft().result()
        while ready:
            yield ready.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
