"""What OpenSSH 9.2 writes, as it was seen, and the sentence that comes of it."""

import pytest

from compress.devices.address import Address
from compress.devices.inventory import Board
from compress.devices.refusals import why_lost
from compress.devices.remedies import install_line, lacking, missing_there
from compress.devices.visit import Greeting
from compress.devices.wire import LostError
from runtime.errors import MissingDependencyError

BOARD = Board(name="pi5", address=Address(host="pi.local", user="pi", port=2222))


def told(
    said: str, *, status: int = 255, began: bool = False, late: bool = False
) -> str:
    """The sentence for an end while copying."""
    lost = LostError(late=late, status=status, said=said)
    return why_lost(BOARD, lost, doing="copying", began=began)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            (
                "@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n"
                "Host key verification failed.\n"
            ),
            (
                "`ssh-keygen -R '[pi.local]:2222'` and compare the new one by hand: "
                "`ssh -p 2222 pi@pi.local`"
            ),
        ),
        (
            (
                "No ED25519 host key is known for pi.local and you asked for strict "
                "checking.\nHost key verification failed.\n"
            ),
            "the key of pi.local is not known on this machine",
        ),
        (
            "pi@pi.local: Permission denied (publickey,password).\n",
            "ssh-copy-id -p 2222",
        ),
        (
            "Disconnected: Too many authentication failures\n",
            "IdentitiesOnly yes",
        ),
        (
            "ssh: Could not resolve hostname pi.local: Name or service not known\n",
            "there is no host pi.local",
        ),
        (
            "ssh: connect to host pi.local port 2222: Connection refused\n",
            "nothing listens on port 2222 of pi.local",
        ),
        (
            "ssh: connect to host pi.local port 2222: Connection timed out\n",
            "pi.local does not answer; is it on",
        ),
        ("Connection timed out during banner exchange\n", "pi.local does not answer"),
        (
            "ssh: connect to host pi.local port 2222: No route to host\n",
            "is not on any network of this machine",
        ),
        (
            "kex_exchange_identification: Connection closed by remote host\n",
            "the connection was lost while copying (kex_exchange_identification",
        ),
        ("", "the connection was lost while copying; what was copied is kept there"),
    ],
)
def test_what_ssh_says_is_told_with_what_to_do(said: str, sentence: str) -> None:
    found = told(said)
    assert found.startswith("pi5: ")
    assert sentence in found
    assert len(found.splitlines()) == 1


def test_what_a_board_says_later_is_not_taken_for_what_ssh_says() -> None:
    """A program there may write anything; and its colors stay off our terminal."""
    found = told("Permission denied \x1b[31m\n", status=3, began=True)
    assert found == (
        "pi5: the program there ended with 3 while copying "
        r"(Permission denied \x1b[31m)"
    )


def test_a_board_without_python_or_with_an_old_one_is_told_so() -> None:
    assert "'python3' cannot be run there (bash: python3: command not found)" in told(
        "bash: python3: command not found\n", status=127
    )
    old = told("edgepress needs another Python than 3.7\n", status=1)
    assert "Python 3.7 is too old there" in old
    assert "no answer in time while copying" in told("", status=-9, late=True)


def greeting(*, managed: bool, venv: bool = True, modules: str = "") -> Greeting:
    """Of a Python."""
    return Greeting(
        python="/opt/my python/bin/python3",
        version="3.11.2",
        modules=dict.fromkeys(modules.split(), "1.0"),
        managed=managed,
        venv=venv,
    )


def test_the_install_line_is_made_for_the_python_that_is_there() -> None:
    """Debian's takes nothing from pip (PEP 668), and may not make environments."""
    own = install_line(BOARD, greeting(managed=False), ["numpy>=2"])
    assert own == (
        "ssh -p 2222 pi@pi.local ''\"'\"'/opt/my python/bin/python3'\"'\"' -m pip "
        "install '\"'\"'numpy>=2'\"'\"''"
    )
    debian = install_line(BOARD, greeting(managed=True, venv=False), ["numpy"])
    assert "apt-get install -y python3-venv && python3 -m venv" in debian
    assert debian.endswith(
        "compress devices add pi5 ssh://pi@pi.local:2222 "
        "--python edgepress-venv/bin/python"
    )
    assert "apt-get" not in install_line(BOARD, greeting(managed=True), ["numpy"])


def test_an_error_from_there_gets_a_line_that_works_from_here() -> None:
    there = MissingDependencyError(
        "pi5: needs onnxruntime, which is not installed; run: pip install 'onnxruntime'"
    )
    found = str(missing_there(BOARD, greeting(managed=False), there))
    assert "; run: ssh -p 2222 pi@pi.local " in found
    other = MissingDependencyError("pi5: needs a newer one")
    assert missing_there(BOARD, greeting(managed=False), other) is other


def test_an_interpreter_of_any_kind_is_enough() -> None:
    assert lacking(greeting(managed=False)) == [
        "numpy",
        "onnxruntime",
        "ai-edge-litert",
    ]
    assert lacking(greeting(managed=False, modules="numpy")) == [
        "onnxruntime",
        "ai-edge-litert",
    ]
    assert lacking(greeting(managed=False, modules="numpy tflite-runtime")) == []
