"""Packages are installed by Slicer's own means, and what Slicer is built with is never replaced."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import os
import sys
import types
import unittest
import urllib.parse
import urllib.request
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any
from unittest import mock

from SSLSegmentationLib.logic.BackendInstaller import SlicerInstaller

from sslseg.contract.errors import SSLSegError
from sslseg.contract.requirements import Requirement

TORCH = Requirement("torch", "torch", ">=2.8,!=2.9.*")
MONAI = Requirement("monai", "monai", ">=1.6")
NUMPY = Requirement("numpy", "numpy", ">=2")


class FakeModules:
    """`PyTorchUtils` and `slicer.packaging`, which note what they are asked."""

    def __init__(self) -> None:
        self.torch: list[dict[str, Any]] = []
        self.ensured: list[tuple[list[str], dict[str, Any]]] = []
        self.constraints: list[str] = []
        self.failure: Exception | None = None
        fake, packaging = self, importlib.import_module("slicer.packaging")

        class PyTorchUtilsLogic:
            def installTorch(self, **options: Any) -> object:
                fake.torch.append(options)
                url = urllib.parse.urlparse(os.environ["PIP_CONSTRAINT"])
                fake.constraints.append(Path(urllib.request.url2pathname(url.path)).read_text())
                if fake.failure is not None:
                    raise fake.failure
                return object()

        def pip_ensure(requirements: list[str], **options: Any) -> None:
            inspect.signature(packaging.pip_ensure).bind(requirements, **options)
            self.ensured.append((requirements, options))
            self.constraints.append(Path(options["constraints"]).read_text())

        self.modules = {
            "PyTorchUtils": _module("PyTorchUtils", PyTorchUtilsLogic=PyTorchUtilsLogic),
            "slicer.packaging": _module("slicer.packaging", pip_ensure=pip_ensure),
        }


def _module(name: str, **contents: Any) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    vars(module).update(contents)
    return module


class BackendInstallerTest(unittest.TestCase):
    def setUp(self) -> None:
        self.fake = FakeModules()
        self.installer = SlicerInstaller()
        patch = mock.patch.dict(sys.modules, self.fake.modules)
        patch.start()
        self.addCleanup(patch.stop)

    def test_pytorch_comes_through_the_extension_and_the_rest_through_slicer(self) -> None:
        self.assertEqual(self.installer.obstacle([TORCH, MONAI]), "")
        with mock.patch.object(sys, "platform", "linux"):
            self.installer.install([TORCH, MONAI])
        self.assertEqual(
            self.fake.torch, [{"askConfirmation": False, "torchVersionRequirement": ">=2.8,!=2.9.*"}]
        )
        requirements, options = self.fake.ensured[0]
        self.assertEqual(requirements, ["monai>=1.6"])
        self.assertFalse(options["prompt_install"])
        self.assertEqual(options["requester"], "SSLSegmentation")

    def test_on_windows_pytorch_stays_below_what_slicer_can_load(self) -> None:
        with mock.patch.object(sys, "platform", "win32"):
            self.installer.install([TORCH])
        self.assertEqual(self.fake.torch[0]["torchVersionRequirement"], ">=2.8,!=2.9.*,<2.13")

    def test_both_ways_keep_the_versions_that_slicer_is_built_with(self) -> None:
        self.installer.install([TORCH, MONAI])
        numpy = f"numpy=={importlib.metadata.version('numpy')}"
        for constraints in self.fake.constraints:
            self.assertIn(numpy, constraints.splitlines())
        self.assertEqual(len(self.fake.constraints), 2)

    def test_a_pytorch_that_is_too_old_can_be_replaced_and_then_stays(self) -> None:
        with mock.patch.object(importlib.metadata, "version", return_value="2.5.1"):
            self.installer.install([TORCH, MONAI])
        torch, others = self.fake.constraints
        self.assertNotIn("torch", torch)
        self.assertIn("torch==2.5.1", others)

    def test_the_environment_is_as_it_was_afterwards_even_after_a_failure(self) -> None:
        self.fake.failure = RuntimeError("no connection")
        for before in ({}, {"PIP_CONSTRAINT": "mine.txt"}):
            with mock.patch.dict(os.environ, before):
                if not before:
                    os.environ.pop("PIP_CONSTRAINT", None)
                with self.assertRaisesRegex(SSLSegError, "no connection"):
                    self.installer.install([TORCH, MONAI])
                self.assertEqual(os.environ.get("PIP_CONSTRAINT"), before.get("PIP_CONSTRAINT"))
        self.assertEqual(self.fake.ensured, [])

    def test_a_missing_pytorch_extension_is_an_obstacle_only_where_pytorch_is_missing(self) -> None:
        with mock.patch.dict(sys.modules, {"PyTorchUtils": None}):
            self.assertIn("Extensions Manager", self.installer.obstacle([TORCH, MONAI]))
            self.assertEqual(self.installer.obstacle([MONAI]), "")

    def test_an_old_slicer_is_an_obstacle(self) -> None:
        with mock.patch.dict(sys.modules, {"slicer.packaging": None}):
            self.assertIn("Slicer 5.12 or later", self.installer.obstacle([MONAI]))

    def test_a_package_of_slicers_own_that_does_not_do_is_never_replaced(self) -> None:
        self.assertIn("numpy in Slicer does not do", self.installer.obstacle([NUMPY, MONAI]))
