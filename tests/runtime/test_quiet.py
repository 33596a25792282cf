"""Chatter of C++ does not reach the terminal; what comes after it does."""

import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from runtime.quiet import quiet, silence

ROOT = Path(__file__).parents[2]
MODEL = "weights/mobilenet_v2_torchvision_int8_1x3x224x224.tflite"


def test_descriptors_are_silent_within_the_block_only(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with quiet(1, 2):
        os.write(1, b"chatter")
        os.write(2, b"chatter")
    os.write(1, b"answer")
    os.write(2, b"news")
    assert capfd.readouterr() == ("answer", "news")


def test_a_silenced_library_may_print_warn_and_log_and_still_fail(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def chatty() -> None:
        sys.stdout.write("chatter")
        warnings.warn("chatter", stacklevel=1)
        logging.getLogger("library").error("chatter")
        raise ValueError("the news")

    with pytest.raises(ValueError, match="the news"), silence():
        chatty()
    sys.stdout.write("answer\n")
    logging.getLogger("library").error("heard again")
    assert capfd.readouterr().out == "answer\n"
    assert logging.root.manager.disable == logging.NOTSET


def test_loading_and_running_a_tflite_file_says_nothing(shared_data: Path) -> None:
    """In a process of its own: LiteRT announces its delegate once in each."""
    pytest.importorskip("ai_edge_litert")
    script = (
        "import sys, numpy as np; from runtime.session import open_session; "
        "s = open_session(sys.argv[1]); s.run(np.zeros(s.input_shape, np.float32))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(shared_data / MODEL)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
