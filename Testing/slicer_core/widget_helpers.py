"""Makes the helpers beside the widget tests importable also where Slicer runs a single file of this folder."""

import sys
from pathlib import Path

FOLDER = str(Path(__file__).parents[1] / "widgets")
if FOLDER not in sys.path:
    sys.path.append(FOLDER)
