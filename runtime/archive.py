"""What goes wrong when a zip from elsewhere is read: one list for whoever reads one."""

import zipfile
import zlib
from typing import Final

# No zip or another checksum; a broken or a short stream; a password, or a compression
# that Python lacks (which is a RuntimeError, too); sizes and names that make no sense.
BAD_ZIP: Final = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError)
