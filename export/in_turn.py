"""Sessions made ready to be timed against each other, and who of them is faster."""

from contextlib import ExitStack, closing
from typing import Final

import numpy as np

from runtime.session import Session
from runtime.timing import Call, Nanoseconds, undisturbed_ms

_WARM_UP: Final = 3


def ready(session: Session, *, rng: np.random.Generator, opened: ExitStack) -> Call:
    """One inference of noise by `session`, warmed up; `opened` closes it in the end."""
    opened.enter_context(closing(session))
    bound = session.bind(rng.standard_normal(session.input_shape, dtype=np.float32))
    for _ in range(_WARM_UP):
        bound()
    return bound


def ratio(first: Nanoseconds, second: Nanoseconds) -> float:
    """How many times as long the first takes, in their undisturbed rounds."""
    return undisturbed_ms(first) / undisturbed_ms(second)
