"""What the batch is made of: what was typed, what is printed, who opens which file, Ctrl-C."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest
from pathlib import Path

import widget_helpers  # noqa: F401 - before the helpers that it finds
from job_doubles import AClock, ASetup
from SSLSegmentationLib.batch.Arguments import Arguments
from SSLSegmentationLib.batch.BackendCommand import BackendCommand, sentenceOf
from SSLSegmentationLib.batch.Interruption import Interrupted, Interruption
from SSLSegmentationLib.batch.Sources import Source, sortSources, stemOf
from SSLSegmentationLib.batch.Terminal import PLAIN_SECONDS, Terminal

from sslseg.contract.errors import SSLSegError


class ArgumentsTest(unittest.TestCase):
    def test_options_of_the_batch_come_before_the_command(self) -> None:
        for words in (["--python", "/env", "train", "c"], ["--", "--python=/env", "train", "c"]):
            arguments = Arguments(words)
            self.assertEqual((arguments.python, arguments.command), ("/env", "train"))
            self.assertEqual(arguments.words, ["train", "c"])
        self.assertIsNone(Arguments(["job", "--python", "x"]).python)

    def test_two_hyphens_further_on_belong_to_the_command(self) -> None:
        self.assertEqual(
            Arguments(["--", "import", "c", "--", "-odd.nii"]).words, ["import", "c", "--", "-odd.nii"]
        )

    def test_the_last_value_of_an_option_counts(self) -> None:
        arguments = Arguments(["predict", "--input", "a", "--input=b", "--output"])
        self.assertEqual(arguments.option("--input"), "b")
        self.assertIsNone(arguments.option("--output"))
        self.assertIsNone(arguments.option("--in"))

    def test_values_are_exchanged_however_they_were_typed(self) -> None:
        arguments = Arguments(["predict", "--input", "a", "--model=m", "--input=b"])
        self.assertEqual(arguments.values("--input"), ["a", "b"])
        changed = arguments.changed(input=["c", "d"])
        self.assertEqual(changed, ["predict", "--model=m", "--input", "c", "--input", "d"])
        self.assertEqual(arguments.changed(model=[]), ["predict", "--input", "a", "--input=b"])

    def test_what_is_no_option_is_found_among_them(self) -> None:
        arguments = Arguments(["init", "--copy", "cohort", "--images", "scans", "--organs=a=1"])
        self.assertEqual(arguments.positional({"--copy"}), ["cohort"])
        self.assertEqual(arguments.options(), {"--copy", "--images", "--organs"})

    def test_an_option_without_a_value_is_refused(self) -> None:
        for words in (["--python"], ["--python="]):
            self.assertRaises(SSLSegError, Arguments, words)


class SourcesTest(unittest.TestCase):
    def setUp(self) -> None:
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.folder = Path(place.name).resolve()

    def touch(self, *names: str) -> None:
        for name in names:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(b"")

    def test_what_the_backend_reads_is_left_to_it(self) -> None:
        self.touch("a.nii.gz", "deep/b.mha", "deep/c.seg.nrrd")
        (self.folder / "slice").write_bytes(b"\0" * 128 + b"DICM")
        paths = [self.folder, self.folder / "a.nii.gz", self.folder / "slice", self.folder / "missing"]
        sources = sortSources(paths)
        self.assertEqual((sources.forBackend, sources.forSlicer), (tuple(paths), ()))

    def test_scenes_and_other_formats_are_found_at_any_depth(self) -> None:
        self.touch("a.mrb", "deep/head.MGZ", "deep/.hidden.mrb", ".cache/b.mrb", "notes.txt", "out/c.mrb")
        sources = sortSources([self.folder], outside=self.folder / "out")
        self.assertEqual(
            [source.place for source in sources.forSlicer], [Path("a.mrb"), Path("deep/head.MGZ")]
        )
        self.assertEqual(sources.forBackend, ())

    def test_a_folder_with_both_goes_to_both(self) -> None:
        self.touch("a.mrb", "b.nrrd")
        sources = sortSources([self.folder])
        self.assertEqual(sources.forBackend, (self.folder,))
        self.assertEqual(sources.forSlicer, (Source(self.folder / "a.mrb", Path("a.mrb")),))

    def test_a_segmentation_alone_is_nothing_for_the_backend(self) -> None:
        self.touch("head.mgz", "head.seg.nrrd")
        self.assertEqual(sortSources([self.folder]).forBackend, ())

    def test_the_voxels_of_a_header_are_no_second_volume(self) -> None:
        self.touch("one.hdr", "one.img", "two.img.gz")
        names = [source.path.name for source in sortSources([self.folder]).forSlicer]
        self.assertEqual(names, ["one.hdr", "two.img.gz"])

    def test_a_scene_of_several_files_is_taken_when_it_is_named(self) -> None:
        self.touch("study.mrml", "CT.nrrd")
        self.assertEqual(sortSources([self.folder]).forSlicer, ())
        (source,) = sortSources([self.folder / "study.mrml"]).forSlicer
        self.assertTrue(source.isScene)

    def test_names_are_told_from_their_extensions(self) -> None:
        names = ("a.b.mgz", "a.img.gz", "a.mgh.gz", "a.MRB", "a.vti", "a")
        self.assertEqual([stemOf(Path(name)) for name in names], ["a.b", "a", "a", "a", "a", "a"])


class TerminalTest(unittest.TestCase):
    def setUp(self) -> None:
        self.out, self.err, self.clock = io.StringIO(), io.StringIO(), AClock()

    def terminal(self, interactive: bool) -> Terminal:
        return Terminal(self.out, self.err, interactive, self.clock)

    def test_where_nobody_watches_progress_is_a_line_now_and_then(self) -> None:
        terminal = self.terminal(False)
        for step in range(1, 5):
            terminal.progress(f"step {step}")
            self.clock.now += PLAIN_SECONDS / 2
        terminal.say("done")
        terminal.complain("but")
        self.assertEqual((self.out.getvalue(), self.err.getvalue()), ("step 1\nstep 3\ndone\n", "but\n"))

    def test_on_a_terminal_one_line_counts_on_and_makes_way(self) -> None:
        terminal = self.terminal(True)
        for text in ("step 1", "step 2", "step 2"):
            terminal.progress(text)
        terminal.say("done")
        start = "\r\x1b[K"
        self.assertEqual(self.out.getvalue(), f"{start}step 1{start}step 2{start}done\n")

    def test_a_closed_terminal_does_not_end_the_work(self) -> None:
        self.out.close()
        terminal = self.terminal(True)
        terminal.progress("step 1")
        terminal.say("done")


class SentenceTest(unittest.TestCase):
    def test_the_usage_before_an_error_is_left_out_framed_or_not(self) -> None:
        plain = "Usage: sslseg train COHORT\nTry 'sslseg train --help' for help.\n\nError: No such option: --foo\n"
        framed = (
            "Usage: sslseg train COHORT\nTry 'sslseg train --help' for help.\n"
            "╭─ Error ─────────╮\n│ No such option: │\n│ --foo           │\n╰─────────────────╯\n"
        )
        self.assertEqual([sentenceOf(plain), sentenceOf(framed)], ["No such option: --foo"] * 2)

    def test_any_other_error_stays_as_it_is(self) -> None:
        self.assertEqual(sentenceOf("There is no cohort.\n"), "There is no cohort.")


class AnInterruption(Interruption):
    """Ctrl-C is pressed as soon as a file is there."""

    def __init__(self, sign: Path) -> None:
        super().__init__()
        self.sign = sign

    def pause(self) -> None:
        super().pause()
        self.isAsked = self.isAsked or self.sign.exists()


class BackendCommandTest(unittest.TestCase):
    def setUp(self) -> None:
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.sign = Path(place.name) / "ready"
        self.out, self.err = io.StringIO(), io.StringIO()

    def backend(self, script: str) -> BackendCommand:
        terminal = Terminal(self.out, self.err, False)
        return BackendCommand(ASetup(textwrap.dedent(script)), AnInterruption(self.sign), terminal)

    def test_what_a_command_prints_is_printed_and_its_errors_apart(self) -> None:
        script = "import sys; print('one', sys.argv[1]); print('two', file=sys.stderr); sys.exit(2)"
        self.assertEqual(self.backend(script).show(["word"]), 2)
        self.assertEqual((self.out.getvalue(), self.err.getvalue()), ("one word\n", "two\n"))

    def test_a_command_that_crashes_is_a_fault_of_the_program(self) -> None:
        self.assertEqual(self.backend("import os, signal; os.kill(os.getpid(), signal.SIGKILL)").show([]), 1)
        self.assertIn("The system ended its program", self.err.getvalue())

    def test_a_prepared_job_is_found_and_a_refusal_is_an_error(self) -> None:
        self.assertEqual(
            self.backend("print('Prepared /a folder/jobs/train-0001')").prepared(["train"]),
            Path("/a folder/jobs/train-0001"),
        )
        with self.assertRaisesRegex(SSLSegError, "^no such thing"):
            self.backend("import sys; sys.exit('no such thing')").prepared(["train"])

    @unittest.skipIf(sys.platform == "win32", "there is no Ctrl-C without a console")
    def test_ctrl_c_is_passed_on_and_waited_for(self) -> None:
        script = f"""
            import pathlib, time
            try:
                pathlib.Path({str(self.sign)!r}).touch()
                time.sleep(60)
            except KeyboardInterrupt:
                time.sleep(0.3)
                pathlib.Path({str(self.sign)!r}).write_text("tidied up")
                raise SystemExit(130)
        """
        begin = time.monotonic()
        self.assertRaises(Interrupted, self.backend(script).show, [])
        self.assertEqual(self.sign.read_text(), "tidied up")
        self.assertLess(time.monotonic() - begin, 30)


class InterruptionTest(unittest.TestCase):
    @unittest.skipIf(sys.platform == "win32", "Windows has no such signal")
    def test_what_was_to_be_ignored_stays_ignored(self) -> None:
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        with Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGHUP)
            interruption.check()
        self.assertIs(signal.getsignal(signal.SIGHUP), signal.SIG_IGN)

    def test_ctrl_c_is_remembered_and_belongs_to_others_afterwards(self) -> None:
        before = signal.getsignal(signal.SIGINT)
        with Interruption() as interruption:
            signal.raise_signal(signal.SIGINT)
            self.assertTrue(interruption.isAsked)
            self.assertRaises(Interrupted, interruption.check)
        self.assertIs(signal.getsignal(signal.SIGINT), before)


@unittest.skipUnless("standin" in sys.modules, "another Slicer cannot be started from here")
class SecondInterruptTest(unittest.TestCase):
    def test_the_second_ctrl_c_ends_everything_at_once(self) -> None:
        script = """
            import os, signal, sys, pathlib
            import standin
            standin.install()
            from SSLSegmentationLib.batch.Interruption import Interruption
            from SSLSegmentationLib.logic.ProcessLauncher import ProcessLauncher
            command = [sys.executable, "-c", "import time; time.sleep(600)"]
            with Interruption() as interruption:
                process = ProcessLauncher().launch(command, dict(os.environ), None, detached=True)
                interruption.endsToo(process)
                print(process.pid, flush=True)
                os.kill(os.getpid(), signal.SIGINT)
                print("asked", interruption.isAsked, flush=True)
                os.kill(os.getpid(), signal.SIGINT)
                print("never", flush=True)
        """
        folder = Path(sys.modules["standin"].__file__).parents[1]
        ended = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            env={**os.environ, "PYTHONPATH": str(folder)},
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        pid, *said = ended.stdout.split()
        self.assertEqual((ended.returncode, said), (130, ["asked", "True"]), ended.stderr)
        deadline = time.monotonic() + 20
        while _is_alive(int(pid)):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    unittest.main()
