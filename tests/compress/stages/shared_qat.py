"""Under torchrun: train one network on its grids with every process that there is."""

import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType

import torch
from safetensors.torch import save_file


def _opened(file: Path) -> ModuleType:
    """A Python file as a module."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[file.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[file.stem])
    return sys.modules[file.stem]


def shared(tiny: ModuleType, folder: Path) -> None:
    """Train, and write what this process ended with."""
    rank = os.environ["RANK"]
    cases = _opened(Path(__file__).with_name("test_qat.py"))
    state = cases.trained(tiny, tiny.context(folder / f"job-{rank}"), cases.options())
    packed = {name: value.contiguous() for name, value in state.items()}
    save_file(packed, folder / f"{rank}.safetensors")
    if rank == "0":
        (folder / "names.json").write_text(json.dumps([*state]), encoding="utf-8")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    shared(_opened(Path(sys.argv[1])), Path(sys.argv[2]))
