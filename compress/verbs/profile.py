"""`compress profile`: the same as `python -m runtime`, with this program's flags."""

from runtime.profile import add_arguments, execute

__all__ = ["add_arguments", "execute"]
