"""What holds for every test."""

from __future__ import annotations

import os

# As the command line does: threads that spin would make the suite many times slower on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
