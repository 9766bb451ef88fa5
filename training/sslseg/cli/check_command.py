"""check: whether this computer can do the work."""

from __future__ import annotations

from typing import Annotated

import typer

DEVICE = "auto, cpu, cuda, cuda:1 or mps."


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(check)


def check(
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    device: Annotated[str, typer.Option(help=DEVICE)] = "auto",
) -> None:
    """Try whether the backend works here: train one step, predict once, tell the device, memory and versions.

    Exit code 0 if it does, 2 if a package is missing or does not fit, each with what to do.
    """
    from sslseg.check.computer import check_computer

    found = check_computer(device)
    print(found.as_json() if as_json else found.as_text())
    if not found.ok:
        raise typer.Exit(2)
