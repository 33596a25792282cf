"""A small part of `python tests/fuzz`: the same cases each time, none may go wrong."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Those that need no processes of their own, and one that does; the rest takes minutes.
FORMATS = "pt,safetensors,model.json,model.json int8,recipe.yaml,zip,csv,jpg,png,onnx"
# Commands that go wrong, each in its way, and one that does not.
WRONG = """
import json, os, pathlib, signal, sys, tempfile
sys.path.insert(0, "tests/fuzz")
from forked import forked

def main(words):
    match words[0]:
        case "bug": raise KeyError("x")
        case "told": return 1
        case "loop":
            while True: pass
        case "crash": os.kill(os.getpid(), signal.SIGSEGV)
        case "memory": print("compress: out of memory", file=sys.stderr); return 7
        case "deep": bytearray(10**10)
    print("a sentence", file=sys.stderr)
    return 3

found = {}
for word in ("fine", "bug", "told", "loop", "crash", "memory", "deep"):
    with tempfile.TemporaryDirectory() as folder:
        found[word] = forked(main, [word], folder=pathlib.Path(folder),
                             environment={}, patience_s=2).failure
print(json.dumps(found))
"""


def test_what_goes_wrong_is_seen() -> None:
    """The oracle of all cases: a bug, a loop, a crash and hunger each have a name."""
    done = subprocess.run(
        [sys.executable, "-c", WRONG],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found.pop("fine") is None
    assert found.pop("bug").startswith("bug ")
    assert found.pop("told").startswith("bug ")
    assert found.pop("deep").endswith("MemoryError")
    assert found == {"loop": "hang", "crash": "crash SIGSEGV", "memory": "memory"}


def test_a_hundred_spoilt_files_end_in_a_sentence() -> None:
    words = ("--cases", "100", "--only", FORMATS)
    done = subprocess.run(
        [sys.executable, "tests/fuzz", *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("100 cases, 0 failures\n")
