"""Other programs run to their end: what they print is kept within bounds."""

import subprocess
import sys
import time
import tracemalloc

import pytest

from runtime.programs import run_program


def python(code: str) -> list[str]:
    """Words that run `code`."""
    return [sys.executable, "-c", f"import sys, time\n{code}"]


def test_what_is_short_is_kept_whole_and_apart() -> None:
    """As `subprocess.run` keeps it, the oracle."""
    words = python("print('out'); sys.stderr.write('err'); sys.exit(3)")
    found = run_program(words, patience_s=60)
    expected = subprocess.run(words, capture_output=True, check=False)
    assert found.returncode == expected.returncode == 3
    assert (found.stdout, found.stderr) == (expected.stdout, expected.stderr)


def test_of_endless_output_both_ends_are_kept_in_little_memory() -> None:
    code = """
for number in range(1 << 16):
    sys.stdout.write(f"{number:06d}" + 994 * "x")
    sys.stderr.write("e")
"""
    tracemalloc.start()
    try:
        done = run_program(python(code), patience_s=60, most_bytes=20_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 20_000 < len(done.stdout) < 200_000
    assert done.stdout.startswith(b"000000x")
    assert b"[...]" in done.stdout
    assert done.stdout[-1000:].startswith(b"065535x")
    assert b"[...]" in done.stderr
    assert peak < 2_000_000  # of 65 MB


def test_a_program_that_does_not_end_is_ended() -> None:
    began = time.monotonic()
    for before in ("", "import os; os.close(1); os.close(2)"):
        with pytest.raises(subprocess.TimeoutExpired):
            run_program(python(f"{before}\ntime.sleep(60)"), patience_s=1)
    assert time.monotonic() - began < 20
