"""What an operator sets, by environment variables."""

from __future__ import annotations

import os
from pathlib import Path

RUNS = Path(os.environ.get("VPT_RUNS", "runs"))
"""Where run folders are kept; imported data sets lie in its folder `data`."""

UPLOAD_MB = int(os.environ.get("VPT_UPLOAD_MB", "100"))
"""The largest file a visitor may upload."""
