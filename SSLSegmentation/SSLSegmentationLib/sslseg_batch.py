"""The commands of `sslseg` from Slicer, without a window:

Slicer --no-splash --no-main-window --python-script .../SSLSegmentationLib/sslseg_batch.py -- COMMAND ...

`--help` in place of a command lists them. It lies in here because Slicer takes every script beside a module for another
module, and runs it at every start.
"""

import sys
from pathlib import Path

import slicer

MODULE_FOLDER = str(Path(__file__).resolve().parents[1])

if __name__ == "__main__":
    if MODULE_FOLDER not in sys.path:
        sys.path.insert(0, MODULE_FOLDER)
    from SSLSegmentationLib.batch.Batch import Batch

    slicer.util.exit(Batch(sys.argv[1:]).run())
