"""Nothing that was drawn is lost: drafts, crashes, full disks, moved folders, other programs on the same case."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import textwrap
import unittest
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import SimpleITK as sitk
import slicer
import widget_helpers  # noqa: F401 - before the helpers that it finds
from case_doubles import GULLET, KIDNEY, LIVER, CaseTest, drawn_voxels
from review_cohort import settle
from SSLSegmentationLib.logic import LabelMapWriter
from SSLSegmentationLib.logic.CaseSaving import AUTOSAVE_SECONDS
from SSLSegmentationLib.logic.OrganMarks import Mark
from SSLSegmentationLib.logic.SceneNodes import disown, ownedNodes

from sslseg.contract.cohort import AnnotatedSlices, Cohort
from sslseg.contract.errors import SSLSegError

WRITER = "SSLSegmentationLib.logic.LabelMapWriter.atomic_path"


@contextlib.contextmanager
def full_disk(path: Path) -> Iterator[Path]:
    raise SSLSegError(
        "The file cannot be written (No space left on device)", file=path, remedy="Free some space."
    )
    yield path


class RecoveryCase(CaseTest):
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.logic.poll()
        settle(self.logic)

    def crash(self) -> None:
        """Slicer dies: what it was doing ends here, and a new one is started on an empty scene."""
        self.logic._open.store.close()  # the system releases the lock of a process that has died
        self.logic._open = None
        slicer.mrmlScene.Clear(0)
        self.open_logic()


class DraftTest(RecoveryCase):
    def test_a_draft_is_kept_half_a_minute_after_a_change_and_only_then(self) -> None:
        self.open("first")
        self.wait(AUTOSAVE_SECONDS * 3)
        self.assertEqual(self.drafts(), [])
        self.draw(GULLET, self.a_box(slice(0, 1)))
        self.wait(AUTOSAVE_SECONDS - 1)
        self.assertEqual((self.drafts(), self.logic.lastDraft), ([], None))
        self.wait(2)
        self.assertEqual(self.drafts(), ["first.json", "first.nii.gz"])
        self.assertEqual(self.logic.lastDraft, self.now)
        self.assertTrue(self.logic.isModified)
        np.testing.assert_array_equal(self.saved_voxels("first"), drawn_voxels())
        before = (self.folder / "drafts" / "first.nii.gz").stat().st_mtime_ns
        self.wait(AUTOSAVE_SECONDS * 3)
        self.assertEqual((self.folder / "drafts" / "first.nii.gz").stat().st_mtime_ns, before)
        self.close()
        self.assertEqual(self.drafts(), [])

    def test_no_draft_is_left_of_what_was_saved(self) -> None:
        self.open("first")
        self.draw(GULLET, self.a_box(slice(0, 1)))
        self.logic.save()
        settle(self.logic)
        self.wait(AUTOSAVE_SECONDS)
        self.assertEqual(self.drafts(), [])

    def test_a_change_of_marks_alone_writes_no_voxels(self) -> None:
        self.open("first")
        self.draw(GULLET, self.a_box(slice(0, 1)))
        self.wait(AUTOSAVE_SECONDS)
        voxels, record = (self.folder / "drafts" / f"first.{suffix}" for suffix in ("nii.gz", "json"))
        before = (voxels.stat().st_mtime_ns, record.read_bytes())
        self.logic.setMark(KIDNEY, Mark.COMPLETE)
        self.wait(AUTOSAVE_SECONDS)
        self.assertEqual(voxels.stat().st_mtime_ns, before[0])
        self.assertNotEqual(record.read_bytes(), before[1])

    def test_a_draft_is_restored_with_its_marks_after_a_crash(self) -> None:
        self.open("first")
        self.draw(GULLET, self.a_box(slice(0, 1)))
        self.logic.setMark(KIDNEY, Mark.SLICES, AnnotatedSlices("k", [3]))
        self.wait(AUTOSAVE_SECONDS)
        marks = self.logic.marks()
        self.crash()
        self.open("first")
        self.assertRegex(self.said[0], "^Restored: .*not saved.*Revert")
        self.assertTrue(self.drawn(GULLET)[0].all())
        self.assertEqual(self.logic.marks(), marks)
        self.assertTrue(self.logic.isModified)
        self.close()
        saved = self.saved_voxels("first")
        self.assertTrue((saved[0] == 2).all() and saved[6, 10, 12] == 255)
        self.assertEqual(self.on_disk("first").slices, {KIDNEY: AnnotatedSlices("k", [3])})
        self.assertEqual(self.drafts(), [])

    def test_a_restored_draft_can_be_dropped(self) -> None:
        self.open("first")
        self.draw(GULLET, self.a_box(slice(0, 1)))
        self.wait(AUTOSAVE_SECONDS)
        self.crash()
        self.open("first")
        self.assertTrue(self.logic.revert())
        settle(self.logic)
        self.assertFalse(self.logic.hasVoxels(GULLET) or self.logic.isModified)
        self.assertEqual(self.drafts(), [])

    def test_a_crash_between_the_label_map_and_the_cohort_loses_no_mark(self) -> None:
        self.open("first")
        self.draw(GULLET, self.a_box(slice(0, 1)))
        self.logic.setMark(GULLET, Mark.COMPLETE)
        with (
            mock.patch("SSLSegmentationLib.logic.CaseStore.writeMarks", side_effect=KeyboardInterrupt),
            contextlib.suppress(KeyboardInterrupt),
        ):
            self.logic.saveNow()
        self.assertTrue((self.saved_voxels("first")[0] == 2).all())
        self.assertEqual(self.on_disk("first").annotated, [LIVER])
        self.crash()
        self.open("first")
        self.close()
        self.assertEqual(self.on_disk("first").annotated, [LIVER, GULLET])

    def test_a_damaged_draft_does_not_keep_the_case_from_opening(self) -> None:
        self.open("first")
        self.draw(GULLET, self.a_box(slice(0, 1)))
        self.wait(AUTOSAVE_SECONDS)
        self.crash()
        (self.folder / "drafts" / "first.nii.gz").write_bytes(b"half a fi")
        self.open("first")
        self.assertFalse(self.logic.isModified)
        np.testing.assert_array_equal(self.drawn(LIVER), drawn_voxels() == 200)

    @unittest.skipUnless("standin" in sys.modules, "a second Slicer application cannot be started here")
    def test_a_killed_slicer_loses_nothing_that_was_drafted(self) -> None:
        script = textwrap.dedent(
            """
            import sys
            sys.path[:0] = sys.argv[2:]
            import standin
            standin.install()
            import time
            import numpy as np
            import slicer
            from cohort_doubles import Settings
            from review_cohort import StagingHere, settle
            from SSLSegmentationLib.logic.CaseLogic import CaseLogic
            from SSLSegmentationLib.logic.CohortLogic import CohortLogic
            from SSLSegmentationLib.logic.VolumeLoader import VolumeLoader
            cohorts = CohortLogic(Settings())
            cohorts.openCohort(sys.argv[1])
            now = [0.0]
            logic = CaseLogic(cohorts, VolumeLoader(StagingHere()), clock=lambda: now[0])
            logic.openCase("first")
            settle(logic)
            voxels = np.zeros((7, 11, 13), np.uint8)
            voxels[0] = 1
            slicer.util.updateSegmentBinaryLabelmapFromArray(
                voxels, logic.segmentationNode, logic.segmentId("Left Kidney"), logic.volumeNode
            )
            now[0] += 60
            logic.poll()
            settle(logic)
            print("drafted", flush=True)
            time.sleep(60)
            """
        )
        path = [entry for entry in sys.path if "Testing" in entry]
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(self.folder), *path], stdout=subprocess.PIPE, encoding="utf-8"
        )
        assert process.stdout is not None
        self.assertEqual(process.stdout.readline().strip(), "drafted")
        process.kill()
        process.wait()
        process.stdout.close()
        self.open("first")
        self.assertEqual(len(self.said), 1)
        self.assertRegex(self.said[0], "^Restored")
        self.assertTrue(self.drawn(KIDNEY)[0].all())


class CannotSaveTest(RecoveryCase):
    def test_a_full_disk_is_said_once_and_what_is_drawn_stays_until_it_can_be_saved(self) -> None:
        self.open("first")
        self.draw(GULLET, self.a_box(slice(0, 1)))
        with mock.patch(WRITER, full_disk):
            self.wait(AUTOSAVE_SECONDS)
            self.wait(AUTOSAVE_SECONDS)
            self.assertEqual(len(self.said), 1)
            self.assertIn("No space left on device", self.said[0])
            self.assertIn("No space left", self.logic.problem)
            self.assertTrue(self.logic.isModified)
        self.wait(AUTOSAVE_SECONDS)
        self.assertEqual((self.logic.problem, self.drafts()), ("", ["first.json", "first.nii.gz"]))

    def test_a_save_that_fails_after_closing_is_tried_again_from_memory(self) -> None:
        self.open("first")
        self.draw(GULLET, self.a_box(slice(0, 1)))
        with mock.patch(WRITER, full_disk):
            self.close()
            self.assertIn("No space left", self.said[0])
            self.logic.openCase("first")
            settle(self.logic)
            self.assertIsNone(self.logic.caseId)
        self.open("first")
        self.assertTrue((self.saved_voxels("first")[0] == 2).all())
        self.assertTrue(self.drawn(GULLET)[0].all())

    def test_an_older_draft_does_not_count_as_saved_when_slicer_ends(self) -> None:
        self.open("first")
        self.draw(GULLET, self.a_box(slice(0, 1)))
        self.wait(AUTOSAVE_SECONDS)
        self.draw(GULLET, self.a_box(slice(0, 2)))
        working = LabelMapWriter.atomic_path

        def full(path: Path) -> contextlib.AbstractContextManager[Path]:
            return working(path) if "rescued" in path.parts else full_disk(path)

        with mock.patch(WRITER, full):
            self.logic.shutdown()
        rescued = next((self.place / "rescued").iterdir())
        self.assertTrue((sitk.GetArrayFromImage(sitk.ReadImage(str(rescued)))[1] == 2).all())

    def test_what_was_reverted_is_not_saved_later(self) -> None:
        self.open("first")
        self.draw(GULLET, self.a_box(slice(0, 1)))
        with mock.patch(WRITER, full_disk):
            self.logic.save()
            settle(self.logic)
            self.logic.revert()
        settle(self.logic)
        self.logic.save()
        settle(self.logic)
        np.testing.assert_array_equal(self.saved_voxels("first"), drawn_voxels())

    def test_what_cannot_be_saved_when_slicer_ends_goes_to_another_folder(self) -> None:
        self.open("first")
        self.draw(GULLET, self.a_box(slice(0, 1)))
        shutil.rmtree(self.folder)
        self.logic.shutdown()
        rescued = list((self.place / "rescued").iterdir())
        self.assertEqual(len(rescued), 1)
        self.assertTrue(rescued[0].name.startswith("first-"))
        self.assertIn(str(rescued[0]), self.said[-1])
        self.assertFalse(self.folder.exists())

    def test_a_case_in_a_folder_that_was_moved_stays_open(self) -> None:
        self.open("first")
        self.draw(GULLET, self.a_box(slice(0, 1)))
        self.folder.rename(self.place / "elsewhere")
        self.assertFalse(self.logic.closeCase())
        self.assertFalse(self.logic.openCase("second"))
        self.assertRegex(self.said[0], "first cannot be saved: the cohort is no longer at .*Put it back")
        self.wait(AUTOSAVE_SECONDS)
        self.assertFalse(self.folder.exists())
        (self.place / "elsewhere").rename(self.folder)
        self.close()
        self.assertTrue((self.saved_voxels("first")[0] == 2).all())

    def test_a_folder_one_may_not_write_to_can_be_looked_at(self) -> None:
        with mock.patch(
            "os.access",
            lambda path, mode: mode != os.W_OK or self.folder not in (Path(path), *Path(path).parents),
        ):
            self.open("first")
            self.assertFalse((self.folder / "cache" / "staged").exists())
            self.draw(GULLET, self.a_box(slice(0, 1)))
            self.assertFalse(self.logic.closeCase())
            self.assertIn("you may not write to", self.said[0])
            self.assertTrue(self.logic.closeCase(discard=True))
        np.testing.assert_array_equal(self.saved_voxels("first"), drawn_voxels())

    def test_a_case_that_was_taken_out_of_the_cohort_is_kept_as_a_draft(self) -> None:
        self.open("first")
        self.draw(GULLET, self.a_box(slice(0, 1)))
        with Cohort.edit(self.folder) as cohort:
            cohort.cases.remove(cohort.case("first"))
        self.close()
        self.assertIn("There is no case 'first'", self.said[0])
        self.assertEqual(self.drafts(), ["first.json", "first.nii.gz"])
        self.logic.shutdown()
        self.assertFalse((self.place / "rescued").exists())

    def test_a_label_map_that_was_deleted_meanwhile_is_written_anew(self) -> None:
        self.open("first")
        self.draw(GULLET, self.a_box(slice(0, 1)))
        (self.folder / "labels" / "first.nii.gz").unlink()
        self.close()
        self.assertTrue((self.saved_voxels("first")[0] == 2).all())
        (self.folder / "labels" / "first.nii.gz").unlink()
        self.open("first")
        self.assertRegex(self.said[-1], r"first\.nii\.gz is no longer there: the case is opened without it")
        self.assertFalse(self.logic.hasVoxels(LIVER))


class OtherProgramTest(RecoveryCase):
    def setUp(self) -> None:
        super().setUp()
        self.theirs = np.where(drawn_voxels() == 7, 2, drawn_voxels()).astype(np.uint8)
        self.open("first")
        self.draw(GULLET, self.a_box(slice(0, 1)))

    def others(self) -> dict[str, np.ndarray]:
        return {
            path.name.split("-")[0]: sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
            for path in (self.folder / "drafts").glob("first.*-*.nii.gz")
        }

    def test_ours_replaces_theirs_when_the_user_says_so_and_theirs_is_kept(self) -> None:
        self.write_label("first", self.theirs)
        self.close()
        self.assertRegex(self.confirm.sentences[0], "first was saved by another program.*Replace that")
        self.assertTrue((self.saved_voxels("first")[0] == 2).all())
        np.testing.assert_array_equal(self.others()["first.other"], self.theirs)

    def test_theirs_stays_when_the_user_says_so_and_is_shown(self) -> None:
        self.confirm.answer = False
        self.write_label("first", self.theirs)
        self.logic.save()
        settle(self.logic)
        np.testing.assert_array_equal(self.saved_voxels("first"), self.theirs)
        self.assertTrue((self.others()["first.kept"][0] == 2).all())
        self.assertTrue(any("is kept as" in sentence for sentence in self.said))
        self.assertEqual((self.logic.caseId, self.logic.isModified), ("first", False))
        np.testing.assert_array_equal(self.drawn(GULLET), self.theirs == 2)

    def test_when_nobody_can_be_asked_both_are_kept(self) -> None:
        self.write_label("first", self.theirs)
        slicer.mrmlScene.Clear(0)
        self.assertEqual(self.confirm.sentences, [])
        np.testing.assert_array_equal(self.saved_voxels("first"), self.theirs)
        self.open("first")
        np.testing.assert_array_equal(self.drawn(GULLET), self.theirs == 2)
        self.assertTrue((self.others()["first.kept"][0] == 2).all())
        self.assertRegex(self.said[-1], "saved by another program after you had drawn.*is kept as")

    def test_two_slicers_on_one_case_have_drafts_of_their_own(self) -> None:
        first = self.logic
        self.wait(AUTOSAVE_SECONDS)
        for node in ownedNodes():
            disown(node)  # each Slicer has a scene of its own
        self.open_logic()
        self.open("first")
        self.assertRegex(self.said[0], "first is open in another Slicer too")
        self.assertFalse(self.logic.hasVoxels(GULLET))
        self.draw(KIDNEY, self.a_box(slice(5, 6)))
        self.wait(AUTOSAVE_SECONDS)
        self.assertEqual(self.drafts(), ["first.json", "first.nii.gz", "first~2.json", "first~2.nii.gz"])
        self.close()
        self.assertEqual(self.drafts(), ["first.json", "first.nii.gz"])
        self.assertTrue((self.saved_voxels("first")[5] == 7).all())
        self.assertEqual(self.confirm.sentences, [])
        self.confirm.answer = True
        first.closeCase()
        settle(first)
        self.assertTrue((self.saved_voxels("first")[0] == 2).all())
        self.assertTrue((self.others()["first.other"][5] == 7).all())

    def test_the_draft_of_a_second_slicer_that_died_is_found_as_well(self) -> None:
        drafts = self.folder / "drafts"
        self.wait(AUTOSAVE_SECONDS)
        for suffix in ("json", "nii.gz"):
            (drafts / f"first.{suffix}").rename(drafts / f"first~2.{suffix}")
        self.crash()
        self.open("first")
        self.assertRegex(self.said[0], "^Restored")
        self.assertTrue(self.drawn(GULLET)[0].all())
        self.close()
        self.assertEqual(self.drafts(), [])


if __name__ == "__main__":
    unittest.main()
