"""A saved network with what was done to it, also into a class of one's own."""

from pathlib import Path

from torch import nn

from compress.models.checkpoint import load_model
from compress.models.opening import saved_model
from compress.models.origin import Origin
from compress.models.spec import ModelSpec
from compress.models.stage_result import Findings
from compress.python.network import copied, result_of
from compress.python.result import Result
from runtime.errors import RecipeError


def load(folder: str | Path, net: nn.Module | None = None) -> Result:
    """What `Result.save` wrote, or a run of the command line: its newest model.

    net: where it was made of a class of your own, a fresh network of that class, with
    any weights; what was cut, split or masked is done to a copy of it again, and then
    it gets the weights that were saved. Networks known by name, INT8 ones as well, need
    none. Raises InputRejectedError where `net` is not what was cut, or a file was
    changed; RecipeError where nothing is there, or a network is needed.
    """
    place = saved_model(str(folder))
    if place is None:
        raise RecipeError(f"load: {folder}: no such folder")
    like = None
    if net is not None:
        origin = Origin(module=copied(net))
        like = ModelSpec(name=origin.name).with_origin(origin)
    return result_of(load_model(place, like=like), findings=Findings.read(place))
