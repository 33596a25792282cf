"""`python -m runtime.backends`: runtimes as JSON, what is there and why others are not.

Each library is imported, so a broken one is found; whoever must not break with it asks
this program in a process of its own.
"""

import json
import sys
from collections.abc import Iterator

from runtime.backends.table import BACKENDS
from runtime.errors import EdgepressError, one_line


def listed() -> Iterator[dict[str, object]]:
    """{name, formats, enables, version, reason}: one of the last two is None."""
    for each in BACKENDS.values():
        version, reason = None, None
        try:
            version = each.interpreter(f"--runtime {each.name}")
        except EdgepressError as missing:
            reason = str(missing)
        except Exception as broken:  # noqa: BLE001  # a library that fails to load
            reason = f"--runtime {each.name}: does not load: {one_line(broken)}"
        yield {
            "name": each.name,
            "formats": list(each.formats),
            "enables": each.enables,
            "version": version,
            "reason": reason,
        }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(list(listed()), indent=2) + "\n")
