"""The Python that runs the backend: what is said of it, whatever it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import slicer
from job_doubles import AClock, ALauncher, wait_for
from setup_doubles import AnInstaller, ASettings, probe_answer
from SSLSegmentationLib.logic.Paths import backendFolder, withoutSlicer
from SSLSegmentationLib.logic.SetupLogic import PROBE_SECONDS, TEST_SECONDS, SetupLogic, SetupState

from sslseg.contract.errors import SSLSegError
from sslseg.contract.requirements import REQUIREMENTS


class SetupLogicTest(unittest.TestCase):
    """With processes that answer as the test wants."""

    def setUp(self) -> None:
        self.launcher, self.installer, self.clock = ALauncher(), AnInstaller(), AClock()
        self.settings = ASettings()
        self.setup = SetupLogic(
            self.settings, self.launcher, self.installer, lambda: {"HOME": "/home/someone"}, self.clock
        )
        self.changes = 0
        self.setup.changed.connect(self._count)

    def _count(self) -> None:
        self.changes += 1

    def _answer(self, printed: str, code: int = 0) -> None:
        process = self.launcher.processes[-1]
        process.printed, process.exitCode = printed, code
        self.setup.poll()

    def _checked(self, printed: str, code: int = 0) -> None:
        self.setup.check()
        self._answer(printed, code)

    def test_before_the_python_has_answered_nothing_is_ready(self) -> None:
        self.setup.check()
        self.setup.poll()
        self.assertIs(self.setup.state, SetupState.CHECKING)
        self.assertFalse(self.setup.isReady)
        self.assertIn("Looking at Slicer's Python", self.setup.sentence)

    def test_a_python_with_all_packages_is_ready(self) -> None:
        self._checked(probe_answer())
        self.assertTrue(self.setup.isReady)
        self.assertEqual(
            self.setup.sentence, "Ready: Slicer's Python, version 3.12.10, has all that the backend needs."
        )
        self.assertEqual(self.changes, 2)

    def test_missing_and_old_packages_are_named(self) -> None:
        self._checked(probe_answer(torch=None, monai="1.4.0"))
        self.assertIs(self.setup.state, SetupState.INCOMPLETE)
        self.assertIn("lacks PyTorch and MONAI.", self.setup.sentence)
        findings = {finding.name: finding.sentence for finding in self.setup.findings.findings}
        self.assertEqual(findings["PyTorch"], "not installed, needs 2.8 or later, but not 2.9")
        self.assertEqual(findings["MONAI"], "1.4.0 does not fit, needs 1.6 or later")
        self.assertEqual(findings["SimpleITK"], "installed")

    def test_a_version_that_is_excluded_does_not_fit(self) -> None:
        self._checked(probe_answer(torch="2.9.1"))
        self.assertEqual([needed.name for needed in self.setup.findings.missing], ["torch"])

    def test_noise_before_the_answer_does_not_matter(self) -> None:
        self._checked("a warning of sitecustomize\n" + probe_answer())
        self.assertTrue(self.setup.isReady)

    def test_python_2_and_a_python_of_the_future_are_refused_with_their_version(self) -> None:
        for version in ("2.7.18", "3.10.13", "3.13.0"):
            self._checked(probe_answer(python=version))
            self.assertIs(self.setup.state, SetupState.UNUSABLE)
            self.assertIn(f"This is Python {version}", self.setup.sentence)
            self.assertIn("3.11 or later", self.setup.sentence)

    def test_a_program_that_is_not_python_is_refused(self) -> None:
        self._checked("usage: ls [FILE]\n", code=2)
        self.assertIn("does not answer as Python does", self.setup.sentence)

    def test_a_program_that_never_answers_is_ended_and_refused(self) -> None:
        self.setup.check()
        self.clock.now += PROBE_SECONDS + 1
        self.setup.poll()
        self.assertTrue(self.launcher.processes[-1].killed)
        self.assertIn("did not answer within 30 seconds", self.setup.sentence)

    def test_a_program_that_cannot_be_started_is_refused(self) -> None:
        self.launcher.failure = SSLSegError(
            "The program cannot be started", file="/x", remedy="Check the path."
        )
        self.setup.check()
        self.assertIs(self.setup.state, SetupState.UNUSABLE)
        self.assertIn("cannot be started. Check the path.", self.setup.sentence)

    def test_a_second_check_ends_the_first(self) -> None:
        self.setup.check()
        self.setup.check()
        self.assertTrue(self.launcher.processes[0].killed)
        self._answer(probe_answer())
        self.assertTrue(self.setup.isReady)

    def test_the_chosen_python_is_used_and_remembered(self) -> None:
        self.setup.usePython(sys.executable)
        self._answer(probe_answer())
        self.assertEqual(self.launcher.commands[-1][0], sys.executable)
        again = SetupLogic(self.settings, self.launcher, self.installer, dict)
        self.assertEqual(again.python, Path(sys.executable))
        again.usePython(None)
        self.assertIsNone(again.existingPython)

    def test_a_path_without_a_python_is_refused_and_the_choice_stays(self) -> None:
        self.setup.usePython(sys.executable)
        with tempfile.TemporaryDirectory() as folder:
            for path in (Path(folder), Path(folder) / "nothing"):
                with self.assertRaises(SSLSegError) as raised:
                    self.setup.usePython(path)
                self.assertTrue(raised.exception.remedy)
        self.assertEqual(self.setup.python, Path(sys.executable))

    def test_the_folder_of_an_environment_stands_for_its_python(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "bin" / "python"
            program.parent.mkdir()
            program.touch()
            self.setup.usePython(folder)
            self.assertEqual(self.setup.python, program)

    def test_another_python_gets_the_environment_that_slicer_was_started_with(self) -> None:
        own = self.setup.environment()
        self.assertEqual(own["PYTHONPATH"].split(os.pathsep)[0], str(backendFolder()))
        self.assertEqual(own["PATH"], os.environ["PATH"])
        self.setup.usePython(sys.executable)
        other = self.setup.environment()
        self.assertEqual(other["HOME"], "/home/someone")
        self.assertEqual(other["PYTHONPATH"], str(backendFolder()))
        self.assertNotIn("PATH", other)

    def test_another_python_gets_nothing_that_slicer_set_for_its_own(self) -> None:
        home = slicer.app.slicerHome
        of_slicer = {"PYTHONHOME": f"{home}/lib/Python", "PYTHONNOUSERSITE": "1"}
        paths = os.pathsep.join([f"{home}/bin/Python", "/home/someone/lib", f"{home}/lib"])
        setup = SetupLogic(
            ASettings(),
            startupEnvironment=lambda: {**of_slicer, "PYTHONPATH": paths, "HOME": "/home/someone"},
        )
        setup.usePython(sys.executable)
        variables = setup.environment()
        self.assertEqual(set(variables), {"HOME", "PYTHONPATH", "PYTHONUTF8"})
        self.assertEqual(
            variables["PYTHONPATH"], os.pathsep.join([str(backendFolder()), "/home/someone/lib"])
        )
        theirs = {"PYTHONHOME": "/opt/python", "PYTHONNOUSERSITE": "1"}
        self.assertEqual(withoutSlicer(theirs, Path(home)), theirs)

    def test_the_command_line_is_that_of_the_backend(self) -> None:
        self.assertEqual(self.setup.commandLine("run", "job")[1:], ["-m", "sslseg.cli.app", "run", "job"])

    def test_the_test_of_the_backend_tells_device_memory_time_and_versions(self) -> None:
        self._checked(probe_answer())
        self.setup.testBackend()
        self.assertTrue(self.setup.isTesting)
        self.assertEqual(self.launcher.commands[-1][-2:], ["check", "--json"])
        answer = {
            "ok": True,
            "device": "cuda (NVIDIA A100)",
            "memory_gb": 80.0,
            "versions": {"torch": "2.13.0", "monai": None},
            "seconds": 0.72,
            "warnings": ["The disk is nearly full."],
        }
        self._answer(json.dumps(answer))
        self.assertFalse(self.setup.isTesting)
        self.assertTrue(self.setup.report.isGood)
        self.assertEqual(
            self.setup.report.sentence,
            "The backend works on cuda (NVIDIA A100), 80 GB of memory. The test job took 0.7 s. "
            "Versions: PyTorch 2.13.0.",
        )
        self.assertEqual(self.setup.report.warnings, ("The disk is nearly full.",))

    def test_a_test_that_fails_says_why_and_one_that_crashes_shows_its_last_words(self) -> None:
        cases = (
            (
                json.dumps({"ok": False, "errors": ["The package 'monai' is missing."]}),
                2,
                "'monai' is missing",
            ),
            ("Traceback\nSegmentation fault", -11, "crashed (signal 11)"),
            ("no such option", 1, "does not start (exit code 1)"),
        )
        for printed, code, expected in cases:
            self.setup.testBackend()
            self._answer(printed, code)
            self.assertFalse(self.setup.report.isGood)
            self.assertIn(expected, self.setup.report.sentence)
        self.assertEqual(self.setup.report.warnings, ("no such option",))

    def test_a_test_that_takes_too_long_is_ended(self) -> None:
        self.setup.testBackend()
        self.clock.now += TEST_SECONDS + 1
        self.setup.poll()
        self.assertTrue(self.launcher.processes[-1].killed)
        self.assertIn("did not answer within 180 seconds", self.setup.report.sentence)

    def test_install_asks_for_what_is_missing_and_looks_again(self) -> None:
        self._checked(probe_answer(torch=None, rich=None))
        summary = self.setup.installSummary()
        for words in (
            "PyTorch, Rich",
            "up to 1.3 GB",
            "NVIDIA",
            "SimpleITK, NumPy and requests stay as they are",
        ):
            self.assertIn(words, summary)
        self.setup.install()
        self.assertEqual(self.installer.asked, [["torch", "rich"]])
        self._answer(probe_answer())
        self.assertTrue(self.setup.isReady)

    def test_without_pytorch_an_installation_is_small(self) -> None:
        self._checked(probe_answer(rich=None))
        self.assertIn("up to 0.4 GB", self.setup.installSummary())
        self.assertNotIn("NVIDIA", self.setup.installSummary())

    def test_another_python_ends_the_test_of_the_one_before(self) -> None:
        self.setup.testBackend()
        self.setup.usePython(sys.executable)
        self.assertTrue(self.launcher.processes[0].killed)
        self.assertFalse(self.setup.isTesting)

    def test_an_installation_that_failed_is_said_and_the_python_is_looked_at_again(self) -> None:
        self._checked(probe_answer(torch=None))
        self.installer.failure = SSLSegError("The installation did not succeed")
        with self.assertRaises(SSLSegError):
            self.setup.install()
        self.assertIs(self.setup.state, SetupState.CHECKING)

    def test_nothing_is_installed_into_an_existing_python(self) -> None:
        self.setup.usePython(sys.executable)
        self._answer(probe_answer(torch=None))
        self.assertIn('-m pip install "torch>=', self.setup.installObstacle())
        with self.assertRaises(SSLSegError):
            self.setup.install()
        self.assertEqual(self.installer.asked, [])

    def test_close_ends_what_is_running(self) -> None:
        self.setup.check()
        self.setup.testBackend()
        self.setup.close()
        self.assertTrue(all(process.killed for process in self.launcher.processes))


class RealProcessTest(unittest.TestCase):
    """With real programs."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.setup = SetupLogic(ASettings())
        self.addCleanup(self.setup.close)

    def _program(self, text: str) -> Path:
        """A shell script in the place of Python."""
        if os.name == "nt":
            self.skipTest("shell scripts are no programs on Windows")
        path = self.folder / "python"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    def _use(self, path: Path) -> str:
        self.setup.usePython(path)
        self.assertTrue(wait_for(lambda: self.setup.findings is not None, self.setup.poll))
        return self.setup.sentence

    def test_the_probe_finds_in_a_python_what_that_python_finds_itself(self) -> None:
        self._use(Path(sys.executable))
        found = {finding.requirement.name: finding.version for finding in self.setup.findings.findings}
        self.assertEqual(set(found), {requirement.name for requirement in REQUIREMENTS})
        for requirement in REQUIREMENTS:
            if requirement.installed() is not None:
                self.assertEqual(found[requirement.name], requirement.installed())

    def test_a_python_without_packages_lists_them_and_its_test_says_the_same(self) -> None:
        sentence = self._use(self._program(f'exec "{sys.executable}" -S "$@"'))
        self.assertIs(self.setup.state, SetupState.INCOMPLETE)
        self.assertIn("PyTorch", sentence)
        self.setup.testBackend()
        self.assertTrue(wait_for(lambda: not self.setup.isTesting, self.setup.poll))
        self.assertFalse(self.setup.report.isGood)
        self.assertIn("is missing", self.setup.report.sentence)

    def test_a_real_python_2_is_named(self) -> None:
        found = shutil.which("python2.7")
        if found is None or subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode:
            self.skipTest("there is no Python 2 on this computer")
        self.assertIn("This is Python 2.7", self._use(Path(found)))

    def test_a_python_that_crashes_is_refused(self) -> None:
        self.assertIn("does not answer as Python does", self._use(self._program("kill -SEGV $$")))

    def test_a_file_that_is_no_program_is_refused(self) -> None:
        text = self.folder / "notes.txt"
        text.write_text("buy milk")
        self.assertIn("cannot be started", self._use(text))

    def test_slicers_own_settings_and_environment_are_taken_by_default(self) -> None:
        setup = SetupLogic()
        self.assertIsNone(setup.existingPython)
        setup.usePython(sys.executable)
        self.addCleanup(setup.close)
        self.addCleanup(slicer.app.userSettings().setValue, "SSLSegmentation/Python", "")
        self.assertEqual(SetupLogic().python, Path(sys.executable))
        self.assertEqual(setup.environment()["PATH"], slicer.util.startupEnvironment()["PATH"])
