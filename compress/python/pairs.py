"""Pairs of image and label out of whatever a program holds, one after the other."""

from collections.abc import Iterator, Sized
from typing import Any, Final, TypeAlias, cast

from torch.utils.data import DataLoader, Dataset

from runtime.errors import InputRejectedError

# A tuple is images and labels, of the same length.
Source: TypeAlias = Dataset[Any] | DataLoader[Any] | tuple[Sized, Sized]
_PAIR: Final = 2


def pairs_of(source: Source, *, name: str) -> Iterator[tuple[object, object]]:
    """Every image of `source` with its label.

    What gives no pairs, or images and labels of two lengths, is an InputRejectedError
    that calls it `name`.
    """
    if isinstance(source, tuple) and len(source) == _PAIR:
        images, labels = source
        if len(images) != len(labels):
            raise InputRejectedError(
                f"{name}: {len(images)} images and {len(labels)} labels; give one "
                "label for each image"
            )
        yield from zip(cast("Any", images), cast("Any", labels), strict=True)
    elif isinstance(source, DataLoader) and source.batch_size is not None:
        for batch in source:
            yield from zip(*_pair(batch, name), strict=True)
    elif hasattr(source, "__len__") and hasattr(source, "__getitem__"):
        for row in range(len(source)):
            yield _pair(source[row], name)
    elif hasattr(source, "__iter__"):
        for sample in source:
            yield _pair(sample, name)
    else:
        raise InputRejectedError(
            f"{name}: is no data; expected a name, a Dataset or DataLoader of pairs, "
            "or a tuple of images and labels"
        )


def count_of(source: Source) -> int:
    """How many pairs are to come; 1 where nobody knows."""
    inside = source[0] if isinstance(source, tuple) else _inside(source)
    return len(inside) if isinstance(inside, Sized) else 1


def name_of(source: Source) -> str:
    """What sentences call it."""
    return "arrays" if isinstance(source, tuple) else type(_inside(source)).__name__


def classes_of(source: Source) -> tuple[str, ...] | None:
    """The names of classes that a Dataset has, as torchvision's do."""
    found = getattr(_inside(source), "classes", None)
    if not isinstance(found, list | tuple):
        return None
    return tuple(str(each) for each in found)


def _inside(source: object) -> object:
    """What a loader loads from, or `source` itself."""
    return source.dataset if isinstance(source, DataLoader) else source


def _pair(sample: object, name: str) -> tuple[Any, Any]:
    """A sample of two parts."""
    if isinstance(sample, tuple | list) and len(sample) == _PAIR:
        return sample[0], sample[1]
    raise InputRejectedError(
        f"{name}: gives {type(sample).__name__} where a pair (image, label) is "
        "expected; wrap it in a Dataset that gives pairs"
    )
