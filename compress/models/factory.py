"""A network of the user's own: FILE.py:FUNCTION, given on the command line only."""

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from torch import jit, nn

from runtime.errors import RecipeError, one_line

# It is the user's code: anything may go wrong in it, and it may call sys.exit.
_ANYTHING: Final = (Exception, SystemExit)


def from_factory(factory: str, *, classes: int) -> nn.Module:
    """The module that FUNCTION of FILE.py returns.

    The function is given `num_classes` if it accepts it. The file is executed, and
    nothing else is: its folder does not join the import path. Raises RecipeError
    that says which line of the user's file failed.
    """
    file, _, function = factory.rpartition(":")
    path = Path(file)
    if not file or not function.isidentifier() or path.suffix != ".py":
        raise RecipeError(
            f"model file: {factory!r} is not of the form FILE.py:FUNCTION; "
            "for instance my_net.py:build"
        )
    if not path.is_file():
        raise RecipeError(f"model file: {path}: no such file")
    build = _function(path, function)
    try:
        known = {"num_classes": classes} if _accepts(build, "num_classes") else {}
        net = build(**known)
    except _ANYTHING as error:
        raise RecipeError(f"model file: {factory}: {where(error, factory)}") from error
    if not isinstance(net, nn.Module):
        raise RecipeError(
            f"model file: {factory} returned {type(net).__name__}; "
            "it must return a torch.nn.Module"
        )
    if isinstance(net, jit.ScriptModule):
        raise RecipeError(
            f"model file: {factory} returned a scripted module, whose layers cannot be "
            "changed; return the module as it was before torch.jit"
        )
    return net


def _function(path: Path, name: str) -> Callable[..., object]:
    """Execute a file and take one function out of it."""
    # Two files of one name are two modules.
    own = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    module_name = f"edgepress_user_{path.stem}_{own}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise RecipeError(f"model file: {path}: cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    # Whoever defines a class may look its module up, as dataclasses do.
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except _ANYTHING as error:
        del sys.modules[module_name]
        raise RecipeError(f"model file: {where(error, f'{path}:')}") from error
    found = getattr(module, name, None)
    if callable(found):
        function: Callable[..., object] = found
        return function
    there = [n for n, v in vars(module).items() if inspect.isfunction(v)]
    raise RecipeError(
        f"model file: {path} has no function {name!r}; "
        f"it has: {', '.join(there) or 'none'}"
    )


def _accepts(function: Callable[..., object], parameter: str) -> bool:
    """Whether a keyword may be given to `function`."""
    parameters = inspect.signature(function).parameters.values()
    return any(p.name == parameter or p.kind is p.VAR_KEYWORD for p in parameters)


def where(error: BaseException, factory: str) -> str:
    """Where in the file of FILE.py:FUNCTION an error arose, and which it was."""
    path = Path(factory.rpartition(":")[0])
    own, line = path.resolve(), None
    if isinstance(error, SyntaxError) and _is(error.filename, own):
        line = error.lineno
    trace = error.__traceback__
    while trace is not None:
        if _is(trace.tb_frame.f_code.co_filename, own):
            line = trace.tb_lineno
        trace = trace.tb_next
    place = str(path) if line is None else f"{path}, line {line}"
    return f"{place}: {type(error).__name__}: {one_line(error)}"


def _is(file: str | None, path: Path) -> bool:
    """Whether a traceback's `file` is `path`; Python may have made it absolute."""
    return file is not None and Path(file).resolve() == path
