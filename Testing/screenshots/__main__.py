"""`python -m screenshots`: draws the pictures of the README."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import standin

standin.install()

import slicer  # noqa: E402
from PySide6 import QtGui  # noqa: E402

from screenshots.cohorts import finished_cohort  # noqa: E402
from screenshots.pictures import PICTURES, Cohorts  # noqa: E402
from screenshots.window import save  # noqa: E402

CHECKOUT = Path(__file__).parents[2]
FONTS = ("Liberation Sans", "Arial", "DejaVu Sans")
POINTS = 10


def main() -> None:
    """Draw all pictures, or those that are named."""
    parser = argparse.ArgumentParser(prog="python -m screenshots", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"what to draw: {', '.join(PICTURES)}")
    parser.add_argument("--cohort", type=Path, help="a cohort with a model; without it phantoms are made")
    parser.add_argument("--output", type=Path, default=CHECKOUT / "Resources" / "Screenshots")
    parser.add_argument("--work", type=Path, default=CHECKOUT / "build" / "screenshots")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(PICTURES)
    if unknown:
        parser.error(f"there is no picture {', '.join(sorted(unknown))}")
    slicer.app.setFont(_font())
    cohorts = Cohorts(finished_cohort(arguments.cohort, arguments.work / "cohort"), arguments.work / "copy")
    for name in arguments.names or PICTURES:
        path = arguments.output / f"{name}.png"
        save(PICTURES[name](cohorts), path)
        print(f"{path}: {path.stat().st_size / 1024:.0f} KiB", file=sys.stderr)


def _font() -> QtGui.QFont:
    """The first that is there, so that the pictures are the same wherever they are drawn."""
    known = QtGui.QFontDatabase.families()
    return QtGui.QFont(next((name for name in FONTS if name in known), slicer.app.font().family()), POINTS)


main()
