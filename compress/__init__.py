"""Makes trained vision models smaller: every verb as a function over nn.Modules.

    import compress

    data = compress.dataset(train_set, val=val_set)       # any torch Dataset
    smaller = compress.prune(net, data, ratio=0.33)       # any nn.Module
    compress.export(smaller, "model.onnx")                # written and proven

Options are called as the flags of the command line are; `docs/python.md` has ten
examples. A function leaves its arguments as they are, writes nothing but what it is
given a path for, and says what is wrong in one sentence: every error is a
`runtime.errors.EdgepressError`. Nothing heavy is imported before the first use.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compress.python import (
        Exported,
        Preprocess,
        Result,
        Verified,
        convert,
        dataset,
        distill,
        export,
        factorize,
        finetune,
        hold_masks,
        load,
        measure,
        prepare_qat,
        prune,
        quantize,
        sparsify,
        verify,
    )

__all__ = [
    "Exported",
    "Preprocess",
    "Result",
    "Verified",
    "convert",
    "dataset",
    "distill",
    "export",
    "factorize",
    "finetune",
    "hold_masks",
    "load",
    "measure",
    "prepare_qat",
    "prune",
    "quantize",
    "sparsify",
    "verify",
]


def __getattr__(name: str) -> object:
    """What is asked for the first time, and all that it needs."""
    if name in __all__:
        from compress import python

        return getattr(python, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The names above."""
    return sorted([*globals(), *__all__])
