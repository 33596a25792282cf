"""A published INT8 network is really counted, in LiteRT on an emulated A76.

The first of these tests unpacks an arm64 Debian and LiteRT's wheel (30 s, downloads).
"""

import json
from pathlib import Path

import pytest

from compress.cli import main as cli
from compress.devices.emulated import root, site
from compress.prediction.counting import LITERT, counted, lacking
from compress.prediction.cycles import installed
from compress.prediction.laps import instructions
from compress.prediction.predict import check_installed
from runtime.errors import DeviceError

pytestmark = pytest.mark.slow


@pytest.fixture
def net(shared_data: Path) -> Path:
    """MobileNet 0.25 at 128 px: 7 million instructions."""
    if missing := lacking():
        pytest.skip(f"not installed: apt-get install {' '.join(missing)}")
    try:
        root()
        site([f"ai-edge-litert=={LITERT}"])
    except DeviceError as error:
        pytest.skip(f"no arm64 Debian can be unpacked here: {error}")
    return shared_data / "weights" / "mobilenet_v1_0.25_128_quant.tflite"


def test_two_counts_are_the_same_and_operators_make_up_the_whole(
    net: Path, tmp_path: Path
) -> None:
    """To the last instruction of every block, wherever the file lies.

    1 % is more than the interpreter itself takes; MobileNet has 13 depthwise and 15
    other layers.
    """
    elsewhere = tmp_path / "a-longer-name-for-the-same-network.tflite"
    elsewhere.write_bytes(net.read_bytes())

    first, second = (counted(path, cpu="cortex-a76") for path in (net, elsewhere))

    names = [each.name for each in first.operators]
    parts = sum(instructions(each.runs) for each in first.operators)
    assert first == second
    assert 0.99 * first.instructions < parts < first.instructions
    assert sum("DWConv" in name for name in names) == 13
    assert sum("GEMM" in name for name in names) == 15


def test_profile_as_a_board_predicts_and_does_not_measure(
    net: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The record has no latency, the prediction its error and its operators."""
    if not installed():
        pytest.skip("llvm-mca is not installed: apt-get install llvm-19")
    check_installed()

    code = cli.main(["profile", str(net), "--as", "rpi5", "--json"])

    (found,) = json.loads(capsys.readouterr().out)["predictions"]
    assert code == 0
    assert 0.2 < found["predicted_ms"] < 20
    assert 0 < found["error"] < 0.5
    assert found["core"] == "cortex-a76"
    assert found["by_operator"][0]["operator"].startswith("Fully Connected")
