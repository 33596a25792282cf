"""What tests of boards share: a real sshd on loopback, and a small file."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback import Sshd, linear_net, serving


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A board; tests skip where there is no sshd."""
    with serving(tmp_path_factory.mktemp("sshd")) as found:
        yield found


@pytest.fixture(scope="session")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a name that shells would split."""
    return linear_net(tmp_path_factory.mktemp("net") / "a 'net';\n$(x).onnx")
