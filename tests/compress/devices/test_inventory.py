"""The inventory: what is written is read again, whatever else is one sentence."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from compress.cli import main
from compress.devices.address import Address
from compress.devices.inventory import Board, add, boards, inventory_file
from compress.devices.table import device
from runtime.errors import DeviceError, InputRejectedError, RecipeError

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    "url",
    [
        "ssh://pi5",
        "ssh://pi@raspberrypi.local",
        "ssh://pi@10.0.0.5:2222",
        "ssh://root@[fe80::1]:22",
        "ssh://DOMAIN\\user@host",
    ],
)
def test_an_address_is_read_as_it_is_written(url: str) -> None:
    assert str(Address.read(url)) == url


@pytest.mark.parametrize(
    "url",
    [
        "pi@host",
        "ssh://",
        "ssh://-oProxyCommand=reboot",
        "ssh://-l@host",
        "ssh://user@-host",
        "ssh://host;reboot",
        "ssh://host:0",
        "ssh://host:70000",
        "ssh://host:port",
        "ssh://host/folder",
        "ssh://host name",
        "ssh://host\n",
        "ssh://%h",
        "http://host",
        "ssh://user:secret@host",
    ],
)
def test_what_ssh_would_take_for_something_else_is_no_address(url: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Address.read(url)
    assert "secret" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_board_is_added_listed_and_removed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = tmp_path / "ssh config"
    config.touch()
    words = ["devices", "add", "pi5", "ssh://pi@host:2222", "--config", str(config)]
    assert main([*words, "--python", "edgepress/bin/python"]) == 0
    assert device("pi5").name == "pi5"
    assert main(["devices", "add", "orin", "ssh://orin"]) == 0
    assert main(["devices", "add", "orin", "ssh://10.0.0.7"]) == 0
    assert "it was ssh://orin" in capsys.readouterr().out
    assert main(["devices", "ls", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["devices"]
    assert listed == [
        {
            "name": "orin",
            "url": "ssh://10.0.0.7",
            "python": "python3",
            "ssh_config": None,
        },
        {
            "name": "pi5",
            "url": "ssh://pi@host:2222",
            "python": "edgepress/bin/python",
            "ssh_config": str(config),
        },
    ]
    assert main(["devices", "remove", "pi5"]) == 0
    assert [*boards()] == ["orin"]
    capsys.readouterr()
    assert main(["devices", "remove", "pi5"]) == 7
    assert "pi5: no device of that name; known: orin" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["add", "pi5"], 2, "add NAME ssh://user@host"),
        (["add", "cpu", "ssh://host"], 2, "is no name for a device"),
        (["add", "xla", "ssh://host"], 2, "is no name for a device"),
        (["add", "a b", "ssh://host"], 2, "is no name for a device"),
        (["add", "pi4,pi5", "ssh://host"], 2, "is no name for a device"),
        (["add", "pi5", "host"], 2, "is no address of a board"),
        (["add", "pi5", "ssh://host", "--python=-c"], 2, "is no path"),
        (["add", "pi5", "ssh://host", "--python", "~/x"], 2, "is no path"),
        (["add", "pi5", "ssh://host", "--config", "/none"], 2, "no such file"),
        (["ls", "pi5"], 2, "compress devices ls"),
        (["ls", "--python", "python3"], 2, "are for add"),
        (["check", "pi5"], 7, "pi5: no device of that name; known: none yet"),
        (["repair", "pi5"], 2, "invalid choice"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(
    words: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["devices", *words]) == code
    told = capsys.readouterr().err
    assert told.startswith("compress: ")
    assert says in told
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not readable as JSON"),
        ("[]", "holds a list, not a record"),
        ('{"format": 2}', "format is 2; allowed: a whole number from 1 to 1"),
        ('{"format": 1, "devices": {"a": {}}}', "devices.a.url is missing"),
        ('{"format": 1, "devices": {"a": {"url": 3}}}', "devices.a.url is 3"),
        ('{"format": 1, "devices": {"a": {"url": "ftp://x"}}}', "is no address"),
        ('{"format": 1, "devices": {"-a": {"url": "ssh://x"}}}', "is no name"),
        ('{"format": 1, "extra": 1}', "extra is an unknown key"),
    ],
)
def test_a_broken_inventory_is_a_sentence_that_names_it(
    content: str, says: str
) -> None:
    inventory_file().parent.mkdir(parents=True)
    inventory_file().write_text(content)
    with pytest.raises(InputRejectedError) as caught:
        boards()
    assert str(caught.value).startswith(str(inventory_file()))
    assert says in str(caught.value)
    with pytest.raises(InputRejectedError):
        add(Board(name="b", address=Address(host="b")))
    assert inventory_file().read_text() == content


def test_a_board_that_is_not_there_is_told_with_those_that_are() -> None:
    add(Board(name="pi5", address=Address(host="host")))
    with pytest.raises(DeviceError, match=r"known: cpu.*, pi5; `compress devices add"):
        device("pi4")


def test_of_many_boards_a_sentence_names_a_few() -> None:
    devices = {f"pi{number}": {"url": "ssh://h"} for number in range(5000)}
    inventory_file().parent.mkdir(parents=True)
    inventory_file().write_text(json.dumps({"format": 1, "devices": devices}))
    assert len(boards()) == 5000
    with pytest.raises(DeviceError, match=r"pi10 and 4997 more; .{0,60}$"):
        device("nope")


def test_boards_added_at_the_same_time_are_all_kept() -> None:
    """Six processes that change one file."""
    code = (
        "import sys\n"
        "from compress.devices.address import Address\n"
        "from compress.devices.inventory import Board, add\n"
        "for n in range(5):\n"
        "    name = f'b{sys.argv[1]}-{n}'\n"
        "    add(Board(name=name, address=Address(host='h')))\n"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(number)], cwd=ROOT, env=os.environ
        )
        for number in range(6)
    ]
    assert [each.wait(timeout=60) for each in running] == [0] * 6
    assert len(boards()) == 30
