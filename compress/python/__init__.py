"""The Python door: every verb as a function, over networks and data of a program."""

from compress.python.comparing import verify
from compress.python.data import dataset
from compress.python.files import export, measure
from compress.python.loading import load
from compress.python.own_loop import convert, hold_masks, prepare_qat
from compress.python.result import Exported, Result, Verified
from compress.python.stages import (
    distill,
    factorize,
    finetune,
    prune,
    quantize,
    sparsify,
)
from runtime.preprocess import Preprocess

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
