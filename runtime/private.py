"""Libraries report to nobody: what they would send is switched off before they load.

No file of ours may import one of them before this has been called, which importing
`runtime` does; a test watches every verb for look-ups and for files in HOME.
"""

import os
import sys
from collections.abc import Mapping
from typing import Final

# Read by each library when it loads, and by every process that we start.
_SWITCHES: Final[Mapping[str, str]] = {
    # From 1.29 on ONNX Runtime keeps a device id in ~/.cache/Microsoft and sends it to
    # mobile.events.data.microsoft.com with the program's path and the model's name.
    # `onnxruntime.disable_telemetry_events()` comes too late for that.
    "ORT_DISABLE_TELEMETRY": "1",
    # timm brings huggingface_hub, which asks for newer versions of itself, too.
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    # Whoever else keeps to https://donottrack.sh.
    "DO_NOT_TRACK": "1",
}
# NNCF sends to google-analytics.com through it, and nothing where it is missing; NNCF's
# own switch (NNCF_CI) comes after an id of the user was written to ~/intel.
_REPORTER: Final = "openvino_telemetry"


def report_to_nobody() -> None:
    """Switch it off for this process and its children, whatever was set before."""
    os.environ.update(_SWITCHES)
    sys.modules.setdefault(_REPORTER, None)  # type: ignore[arg-type]  # "not there"
