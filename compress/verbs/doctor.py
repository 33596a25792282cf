"""`compress doctor`: what is installed, what is missing, and what that would enable.

Versions come from package metadata, and runtimes are imported in a process of their
own, so a broken installation cannot break the doctor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import argparse

    from compress.diagnosis import Diagnosis
    from compress.screen import Screen


EXAMPLES: Final = ("compress doctor",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare nothing: the doctor has no flags of its own."""
    del parser


def execute(options: argparse.Namespace, screen: Screen) -> Diagnosis:
    """Look at the installation and at the machine."""
    del options, screen
    from compress.diagnosis import diagnose, runtimes_here
    from compress.programs import programs_here

    return diagnose(runtimes=runtimes_here(), programs=programs_here())
