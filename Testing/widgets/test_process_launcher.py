"""Processes are started, read and ended without waiting."""

from __future__ import annotations

import os
import sys
import tempfile
import time
import unittest
from pathlib import Path

from job_doubles import wait_for
from SSLSegmentationLib.logic.ProcessLauncher import ProcessLauncher

from sslseg.contract.errors import SSLSegError

CHILD_THAT_STAYS = (
    "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid, "
    "flush=True); import time; time.sleep(60)"
)


def _python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


class ProcessLauncherTest(unittest.TestCase):
    def setUp(self) -> None:
        self.launcher = ProcessLauncher()

    def _ended(self, process) -> bool:
        return wait_for(lambda: process.poll() is not None, lambda: None)

    def test_output_and_errors_are_read_while_and_after_it_runs(self) -> None:
        code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
        process = self.launcher.launch(_python(code), dict(os.environ), None)
        self.assertTrue(self._ended(process))
        self.assertEqual(process.poll(), 3)
        self.assertEqual(sorted(process.output().split()), ["err", "out"])

    def test_much_output_stops_nobody(self) -> None:
        process = self.launcher.launch(_python("print('x' * 1_000_000)"), dict(os.environ), None)
        self.assertTrue(self._ended(process))
        self.assertEqual(len(process.output().strip()), 1_000_000)

    def test_output_is_appended_to_a_file_and_only_the_new_part_is_read(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "job" / "output.txt"
            for word in ("first", "second"):
                process = self.launcher.launch(_python(f"print('{word}')"), dict(os.environ), log)
                self.assertTrue(self._ended(process))
                self.assertEqual(process.output().strip(), word)
            self.assertEqual(log.read_text().split(), ["first", "second"])

    def test_the_environment_is_the_one_that_was_given(self) -> None:
        environment = {**os.environ, "SSLSEG_TEST": "ä"}
        code = "import os; print(ascii(os.environ['SSLSEG_TEST']))"
        process = self.launcher.launch(_python(code), environment, None)
        self.assertTrue(self._ended(process))
        self.assertEqual(process.output().strip(), ascii("ä"))

    def test_kill_ends_the_children_too(self) -> None:
        if os.name == "nt":
            self.skipTest("looks for the child as POSIX does")
        process = self.launcher.launch(_python(CHILD_THAT_STAYS), dict(os.environ), None)
        self.assertTrue(wait_for(lambda: bool(process.output().strip()), lambda: None))
        child = int(process.output())
        process.kill()
        self.assertTrue(self._ended(process))
        self.assertLess(process.poll(), 0)
        self.assertTrue(wait_for(lambda: not _is_running(child), lambda: None), "the child runs on")
        process.kill()

    def test_a_program_that_is_not_there_is_said_in_a_sentence(self) -> None:
        before = set(Path(tempfile.gettempdir()).glob("sslseg-*.txt"))
        with self.assertRaisesRegex(SSLSegError, "cannot be started"):
            self.launcher.launch(["/no/such/program"], dict(os.environ), None)
        self.assertEqual(set(Path(tempfile.gettempdir()).glob("sslseg-*.txt")) - before, set())

    def test_an_output_that_cannot_be_written_is_said_in_a_sentence(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            blocked = Path(folder) / "file"
            blocked.touch()
            with self.assertRaisesRegex(SSLSegError, "output of the program cannot be written"):
                self.launcher.launch(_python("pass"), dict(os.environ), blocked / "output.txt")

    def test_the_temporary_output_goes_with_its_process(self) -> None:
        before = set(Path(tempfile.gettempdir()).glob("sslseg-*.txt"))
        process = self.launcher.launch(_python("print(1)"), dict(os.environ), None)
        self.assertTrue(self._ended(process))
        self.assertEqual(process.output().strip(), "1")
        del process
        self.assertEqual(set(Path(tempfile.gettempdir()).glob("sslseg-*.txt")) - before, set())

    def test_launching_does_not_wait(self) -> None:
        begun = time.perf_counter()
        process = self.launcher.launch(_python("import time; time.sleep(30)"), dict(os.environ), None)
        process.poll()
        self.assertLess(time.perf_counter() - begun, 5)
        process.kill()


def _is_running(pid: int) -> bool:
    """Whether a process is there and not merely waiting to be collected by its parent."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except FileNotFoundError:
        return sys.platform != "linux"
