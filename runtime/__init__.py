"""What a device needs: load an artifact, run it, measure it; numpy and the stdlib."""

import sys

if sys.version_info < (3, 10):  # noqa: UP036  # a board's own Python may be older
    # Before anything is imported that an older Python cannot read.
    sys.stderr.write(
        "runtime: needs Python 3.10 or newer, this is {}.{}; install a newer one "
        "beside it (Debian 12 and Raspberry Pi OS 12 bring 3.11, JetPack 6 3.10)\n"
        "".format(*sys.version_info[:2])
    )
    raise SystemExit(6)

from runtime.private import report_to_nobody

report_to_nobody()
