"""What a TFLite file computes, counted on the file and by hand."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from export.tflite.reading import int8_macs_fraction, operators
from runtime.errors import InputRejectedError

if TYPE_CHECKING:
    from conftest import Quantized

    from runtime.artifact import Artifact

INT8 = "weights/mobilenet_v2_torchvision_int8_1x3x224x224.tflite"


def test_macs_are_those_of_the_network(
    everything: "Quantized", float_file: "Artifact"
) -> None:
    """Oracle: outputs x kernel x inputs of each layer, written down from the net."""
    del everything
    # Convolutions at 16x16, gates at 1x1, the branches at 8x8, the head.
    by_hand = 256 * (16 * 27 + 16 * 9 + 16 * 16) + 2 * 8 * 16
    by_hand += 64 * (2 * 24 * 16) + 48 * 10

    assert sum(each.macs for each in operators(float_file.path)) == by_hand


def test_a_foreign_int8_file_is_int8(shared_data: Path) -> None:
    assert int8_macs_fraction(shared_data / INT8) == 1


def test_a_file_cut_off_is_a_sentence(tmp_path: Path, float_file: "Artifact") -> None:
    path = tmp_path / "cut.tflite"
    whole = float_file.path.read_bytes()
    for end in (8, 100, len(whole) // 2):
        path.write_bytes(whole[:end])
        with pytest.raises(InputRejectedError, match="not a whole TFLite model"):
            operators(path)
