"""Installing what the backend needs into Slicer's own Python, by Slicer's own means."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from slicer.i18n import tr as _

from sslseg.contract.errors import SSLSegError
from sslseg.contract.requirements import Requirement

PROTECTED = ("SimpleITK", "numpy", "requests")
"""Packages that Slicer itself is built with: another version would break it, so they are never replaced."""

NEWEST_TORCH_ON_WINDOWS = "<2.13"
"""What works inside Slicer on Windows."""


class Installer(Protocol):
    """Whatever installs packages into Slicer's own Python."""

    def obstacle(self, requirements: Sequence[Requirement]) -> str:
        """Why these cannot be installed, in sentences with the remedy; empty when they can."""

    def install(self, requirements: Sequence[Requirement]) -> None:
        """Install these; returns when that is done.

        Raises:
            SSLSegError: it failed.
        """


class SlicerInstaller:
    """PyTorch through the extension PyTorch, which knows the graphics card; all else through `slicer.packaging`."""

    def obstacle(self, requirements: Sequence[Requirement]) -> str:
        protected = [requirement for requirement in requirements if requirement.name in PROTECTED]
        if protected:
            return _(
                "{packages} in Slicer does not do and cannot be replaced. Use Slicer 5.12 or later, or choose an "
                "existing Python below."
            ).format(packages=", ".join(requirement.name for requirement in protected))
        if _torch(requirements) and importlib.util.find_spec("PyTorchUtils") is None:
            return _(
                "The extension PyTorch is missing. Open the Extensions Manager from the View menu, search for "
                "PyTorch, install it and restart Slicer. Or choose an existing Python below."
            )
        if importlib.util.find_spec("slicer.packaging") is None:
            return _("This needs Slicer 5.12 or later. Update Slicer, or choose an existing Python below.")
        return ""

    def install(self, requirements: Sequence[Requirement]) -> None:
        torch = _torch(requirements)
        others = [requirement for requirement in requirements if requirement is not torch]
        try:
            if torch is not None:
                _installTorch(torch)
            if others:
                with _constraints(*PROTECTED, "torch") as path:
                    packaging = importlib.import_module("slicer.packaging")
                    packaging.pip_ensure(
                        [f"{requirement.name}{requirement.specifier}" for requirement in others],
                        constraints=path,
                        prompt_install=False,
                        requester="SSLSegmentation",
                    )
        except Exception as error:
            # Slicer's installers raise whatever pip and the system do; a person needs one sentence.
            raise SSLSegError(
                _("The installation did not succeed ({reason})").format(reason=error),
                remedy=_(
                    "Check the connection to the internet and the free disk space, and try again. The Python "
                    "console of Slicer (Ctrl+3) tells more."
                ),
            ) from error
        finally:
            importlib.invalidate_caches()


def _torch(requirements: Sequence[Requirement]) -> Requirement | None:
    return next((requirement for requirement in requirements if requirement.name == "torch"), None)


def _installTorch(torch: Requirement) -> None:
    specifier = torch.specifier
    if sys.platform == "win32":
        specifier += f",{NEWEST_TORCH_ON_WINDOWS}"
    utilities = importlib.import_module("PyTorchUtils")
    # Not of torch itself: one that is too old has to be replaced.
    with _constraints(*PROTECTED) as path:
        # The extension PyTorch takes no constraints, but the pip it starts reads them from the environment. As an
        # address: pip splits the variable at spaces, which a path may have.
        previous = os.environ.get("PIP_CONSTRAINT")
        os.environ["PIP_CONSTRAINT"] = path.as_uri()
        try:
            utilities.PyTorchUtilsLogic().installTorch(
                askConfirmation=False, torchVersionRequirement=specifier
            )
        finally:
            if previous is None:
                del os.environ["PIP_CONSTRAINT"]
            else:
                os.environ["PIP_CONSTRAINT"] = previous


@contextlib.contextmanager
def _constraints(*packages: str) -> Iterator[Path]:
    """A file that keeps pip from replacing packages that are there."""
    lines = []
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            lines.append(f"{package}=={importlib.metadata.version(package)}\n")
    with tempfile.TemporaryDirectory(prefix="sslseg-") as folder:
        path = Path(folder) / "constraints.txt"
        path.write_text("".join(lines), encoding="utf-8")
        yield path
