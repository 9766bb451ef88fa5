"""Where the command `sslseg` starts, and what it says where not even its commands can be loaded.

Only the standard library is imported here: `sslseg check` has to answer on any Python.
"""

from __future__ import annotations

import os
import sys

# Threads that wait for each other shall sleep, not spin: on a computer that also does something else, such as showing
# Slicer, spinning makes a training step ten times slower. Read when torch is loaded, so it must be said before.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def main() -> None:
    """Run the command line."""
    try:
        from sslseg.cli.commands import run
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == "sslseg":
            raise
        sys.exit(_without_commands(sys.argv[1:], missing))
    run()


def _without_commands(arguments: list[str], missing: str) -> int:
    """Answer `check`, refuse everything else in a sentence; returns the exit code."""
    if arguments[:1] != ["check"]:
        sys.stderr.write(f"The package '{missing}' is missing. 'sslseg check' lists what else is.\n")
        return 2
    from sslseg.check.computer import check_computer

    found = check_computer()
    if found.ok:
        sys.stderr.write(f"The package '{missing}' is missing. Install it.\n")
    print(found.as_json() if "--json" in arguments else found.as_text())
    return 2


if __name__ == "__main__":
    main()
