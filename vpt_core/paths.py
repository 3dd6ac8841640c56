"""Where the files that come with the product lie."""

from __future__ import annotations

import os
from pathlib import Path

ASSETS = Path(os.environ.get("VPT_ASSETS") or Path(__file__).resolve().parents[1] / "assets")
"""The folder of bundled weights and samples; the environment variable VPT_ASSETS puts it elsewhere."""
