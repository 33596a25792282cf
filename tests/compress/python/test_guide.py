"""docs/python.md, run as a reader would type it in."""

import pydoc
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import compress

ROOT = Path(__file__).parents[3]
GUIDE = ROOT / "docs/python.md"
NAMES = [
    "dataset",
    "prune",
    "sparsify",
    "factorize",
    "distill",
    "finetune",
    "quantize",
    "export",
    "verify",
    "measure",
    "load",
    "prepare_qat",
    "convert",
    "hold_masks",
]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Everything that the examples leave behind, run one after the other."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 11  # ten examples, and what they begin with
    there: dict[str, object] = {"print": lambda *_: None}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("guide"))
        torch.manual_seed(0)
        for place, block in enumerate(blocks):
            exec(compile(block, f"example {place}", "exec"), there)  # noqa: S102
    return there


def test_every_example_does_what_it_says(said: dict[str, object]) -> None:
    trained, smaller, again = (said[name] for name in ("trained", "smaller", "again"))
    assert smaller.costs.macs <= 0.67 * trained.costs.macs  # type: ignore[attr-defined]
    sparse = said["net"].body[0].weight  # type: ignore[attr-defined]
    assert float((sparse == 0).float().mean()) > 0.2
    assert said["onnx"].parity.argmax_agreement == 1.0  # type: ignore[attr-defined]
    assert said["trained_int8"].model.precision == "int8"  # type: ignore[attr-defined]
    shown = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(again.net(shown), smaller.net(shown))  # type: ignore[attr-defined]


def test_the_first_import_loads_nothing_heavy() -> None:
    code = "import compress, sys; print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_help_is_readable_and_names_every_function() -> None:
    text = pydoc.plain(pydoc.render_doc(compress))
    assert all(name in text for name in NAMES)
    for name in NAMES:
        told = pydoc.plain(pydoc.render_doc(getattr(compress, name)))
        assert "Raises" in told or "errors" in told or name in {"convert", "hold_masks"}


def test_a_network_that_was_given_stays_as_it_was(said: dict[str, object]) -> None:
    net = said["Net"]()  # type: ignore[operator]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    compress.prune(net, said["data"], macs=0.8, epochs=0, quiet=True)  # type: ignore[arg-type]
    assert all(torch.equal(before[name], v) for name, v in net.state_dict().items())
