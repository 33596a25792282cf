"""A Keras file is read through in a process of its own where HDF5 is old."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from compress.cli.main import main
from export.hdf5 import try_out
from runtime.contained import Limits, contained
from runtime.errors import DeviceError, Exit, InputRejectedError
from runtime.files import cache_folder

OLD = h5py.version.hdf5_version_tuple < (2, 0, 0)


@pytest.fixture(autouse=True)
def _fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path / "cache"))


def a_file(path: Path, *, sets: int = 1, numbers: int = 1000) -> Path:
    """Data sets of ones that take no place: nothing but a fill value is stored."""
    with h5py.File(path, "w") as file:
        for number in range(sets):
            file.create_dataset(
                str(number), (numbers,), "f4", chunks=(1000,), fillvalue=1.0
            )
    return path


@pytest.mark.skipif(not OLD, reason="this HDF5 is trusted")
def test_every_verb_reads_it_there_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which a record in the cache shows; that it is no model is told after."""
    words = ("export", "--model", str(a_file(tmp_path / "a.h5")), "-q")
    assert main([*words, "--out", str(tmp_path / "o")]) == Exit.REJECTED
    assert "holds weights only" in capsys.readouterr().err
    (record,) = (cache_folder() / "passed").glob("*.json")
    passed = json.loads(record.read_text())
    assert passed["path"] == "a.h5"
    assert passed["by"] == f"HDF5 {h5py.version.hdf5_version}"


@pytest.mark.skipif(OLD, reason="this HDF5 is not trusted")
def test_a_mended_hdf5_reads_it_here(tmp_path: Path) -> None:
    try_out(a_file(tmp_path / "a.h5"))
    assert not (cache_folder() / "passed").exists()


def test_data_without_end_ends(tmp_path: Path) -> None:
    """Hundreds of gigabytes of ones in a small file, each set small enough to read."""
    path = a_file(tmp_path / "a.h5", sets=300, numbers=2**28)
    assert path.stat().st_size < 10**6
    limits = Limits(memory_bytes=10**9, cpu_s=1)
    with pytest.raises(InputRejectedError, match="not done after 1 s of processor"):
        contained("export.hdf5", path, by="HDF5", limits=limits)


def test_memory_does_not_grow_with_a_data_set(tmp_path: Path) -> None:
    """One gigabyte of ones, and what no reader takes: passed within 0.3 GB."""
    path = a_file(tmp_path / "a.h5", numbers=2**28)
    with h5py.File(path, "a") as file:
        file.create_dataset("more", (2**40,), "f4", chunks=(1000,), fillvalue=1.0)
    limits = Limits(memory_bytes=3 * 10**8, cpu_s=60)
    contained("export.hdf5", path, by="HDF5", limits=limits)
    assert len(list((cache_folder() / "passed").glob("*.json"))) == 1


def test_a_group_that_holds_itself_and_links_lead_nowhere(tmp_path: Path) -> None:
    path = a_file(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        file.create_group("loop")["again"] = file["/"]
        file["soft"] = h5py.SoftLink("/no/such")
        file["away"] = h5py.ExternalLink("/dev/zero", "/x")
        layout = h5py.VirtualLayout((4,), "f4")
        layout[:] = h5py.VirtualSource("/dev/zero", "x", (4,))
        file.create_virtual_dataset("virtual", layout)
        file.attrs["text"] = np.bytes_(b"x" * 1000)
    limits = Limits(memory_bytes=10**9, cpu_s=20)
    contained("export.hdf5", path, by="HDF5", limits=limits)
    assert len(list((cache_folder() / "passed").glob("*.json"))) == 1


def test_what_is_no_hdf5_is_left_to_whoever_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(b"nonsense")
    try_out(path)
    assert not (cache_folder() / "passed").exists()


def test_a_process_that_cannot_begin_is_no_pass(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="No module named no_such"):
        contained("no_such", a_file(tmp_path / "a.h5"), by="nobody")
