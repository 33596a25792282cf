"""Containers, as seen from within: which engine this process runs in, if any."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from runtime import sysfs

# In the path of a process's control group, or of its root file system's layers.
_MARKS: Final = (
    ("kubepods", "kubernetes"),
    ("/docker", "docker"),
    ("libpod", "podman"),
    ("containers/storage", "podman"),
    ("/lxc", "lxc"),
    ("buildkit", "buildkit"),
    ("containerd", "containerd"),
)


def container(
    root: Path = Path("/"), environ: Mapping[str, str] | None = None
) -> str | None:
    """`docker`, `podman`, `lxc`, `kubernetes` …, or None where nothing says so."""
    environ = os.environ if environ is None else environ
    if "KUBERNETES_SERVICE_HOST" in environ:
        return "kubernetes"
    if (root / "run/.containerenv").exists():
        return "podman"
    if (root / ".dockerenv").exists():
        return "docker"
    # systemd's convention (CONTAINER_INTERFACE): the manager says what it is.
    named = sysfs.text(root / "run/systemd/container") or environ.get("container")
    if named:
        return named.split()[0][:40]
    traces = (sysfs.text(root / "proc/self/cgroup") or "") + _root_layers(root)
    return next((name for mark, name in _MARKS if mark in traces), None)


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Cores' worth of time that the control group may use; None where unlimited."""
    limit, _, period = (sysfs.text(root / "sys/fs/cgroup/cpu.max") or "").partition(" ")
    if limit.isdigit() and period.isdigit() and int(period):
        return int(limit) / int(period)
    quota = sysfs.number(root / "sys/fs/cgroup/cpu/cpu.cfs_quota_us")
    period_us = sysfs.number(root / "sys/fs/cgroup/cpu/cpu.cfs_period_us")
    if quota is None or quota <= 0 or not period_us:
        return None
    return quota / period_us


def quota_pauses(root: Path = Path("/")) -> int | None:
    """How often the quota stopped this control group so far; None where not counted."""
    for name in ("cpu.stat", "cpu/cpu.stat"):
        lines = (sysfs.text(root / "sys/fs/cgroup" / name) or "").splitlines()
        for line in lines:
            key, _, value = line.partition(" ")
            if key == "nr_throttled" and value.isdigit():
                return int(value)
    return None


def _root_layers(root: Path) -> str:
    """The line of /proc/self/mountinfo that is about `/`."""
    lines = (sysfs.text(root / "proc/self/mountinfo") or "").splitlines()
    return next((line for line in lines if line.split()[4:5] == ["/"]), "")
