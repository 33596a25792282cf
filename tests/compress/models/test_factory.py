"""A network of the user's own."""

from pathlib import Path

import pytest
import torch

from compress.context.console import Console
from compress.models.build import build
from compress.models.spec import CodePath, ModelSpec
from runtime.errors import RecipeError

TEN = tuple("abcdefghij")
NET = """
from torch import nn

def build(num_classes):
    layers = nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(4, num_classes))

def fixed():
    return build(3)

def number():
    return 7

def broken(num_classes):
    raise KeyError("oh")
"""


def file_with(tmp_path: Path, text: str) -> Path:
    """A Python file of the user's."""
    path = tmp_path / "my_net.py"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_function_gets_the_number_of_classes(
    tmp_path: Path, console: Console
) -> None:
    """The model answers with as many logits as the data has classes."""
    spec = ModelSpec(name="mine", factory=CodePath(f"{file_with(tmp_path, NET)}:build"))

    model = build(spec, classes=TEN, native_size=40, seed=0, console=console)

    assert model.preprocess.size == 40
    assert model.net(torch.zeros(2, 3, 40, 40)).shape == (2, 10)


def test_weights_of_such_a_net_load(tmp_path: Path, console: Console) -> None:
    """What is saved from one net is what the next one has."""
    spec = ModelSpec(name="mine", factory=CodePath(f"{file_with(tmp_path, NET)}:build"))
    one = build(spec, classes=TEN, native_size=40, seed=0, console=console)
    torch.save(one.net.state_dict(), tmp_path / "mine.pt")
    spec = spec.model_copy(update={"weights": str(tmp_path / "mine.pt")})

    other = build(spec, classes=TEN, native_size=40, seed=1, console=console)

    for name, tensor in one.net.state_dict().items():
        assert torch.equal(tensor, other.net.state_dict()[name])


@pytest.mark.parametrize(
    ("function", "text", "complaint"),
    [
        ("fixed", NET, r"gives \(2, 3\) for two images; expected logits \[2, 10\]"),
        ("number", NET, "returned int"),
        ("broken", NET, "my_net.py, line 15: KeyError"),
        ("nothing", NET, "has no function 'nothing'; it has: build, fixed"),
        ("build", "def build(:\n", "line 1: SyntaxError"),
        ("build", "import no_such_thing\n", "line 1: ModuleNotFoundError"),
    ],
)
def test_what_is_wrong_with_the_file_is_one_sentence(
    tmp_path: Path, console: Console, function: str, text: str, complaint: str
) -> None:
    """With the line of the user's file where there is one."""
    spec = ModelSpec(
        name="mine", factory=CodePath(f"{file_with(tmp_path, text)}:{function}")
    )

    with pytest.raises(RecipeError, match=complaint):
        build(spec, classes=TEN, native_size=40, seed=0, console=console)


@pytest.mark.parametrize("factory", ["my_net.py", "my_net:build", "none.py:build"])
def test_a_factory_is_a_file_and_a_function(factory: str, console: Console) -> None:
    """Anything else is a usage error."""
    spec = ModelSpec(name="mine", factory=CodePath(factory))

    with pytest.raises(RecipeError, match="model file: "):
        build(spec, classes=TEN, native_size=40, seed=0, console=console)


def test_a_scripted_network_is_refused(tmp_path: Path, console: Console) -> None:
    """It is a module by name, and nothing of it can be changed."""
    scripted = NET + "\ndef script():\n    import torch\n"
    scripted += "    return torch.jit.script(build(10))\n"
    factory = CodePath(f"{file_with(tmp_path, scripted)}:script")

    with pytest.raises(RecipeError, match="returned a scripted module"):
        build(
            ModelSpec(name="mine", factory=factory),
            classes=TEN,
            native_size=40,
            seed=0,
            console=console,
        )
