"""The batch makes cohorts of what the backend reads and of what Slicer opens."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import types
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import batch_driving  # before the helpers that it finds
import numpy as np
import SimpleITK as sitk
import slicer
import tiny_training
from batch_driving import LIVER_TERM, SHAPE, BatchCase, a_box, add_segmentation, add_volume, node_ids

from sslseg.contract.cohort import Cohort
from sslseg.contract.labels import LabelTable, parse_labels

ORGANS = "liver=3,left kidney=7"
LIVER, KIDNEY = a_box(2, 2, 2), a_box(5, 5, 6)


class ImportCase(BatchCase):
    """An empty cohort, and a scene as a file: two volumes, one of them segmented."""

    def setUp(self) -> None:
        super().setUp()
        Cohort.create(self.folder, name="c", modality="CT", labels=parse_labels(ORGANS))
        self.scans = self.place / "scans"
        self.scans.mkdir()

    def make_scene(
        self, path: Path, *, volumes: int = 2, segments: dict[str, np.ndarray] | None = None
    ) -> None:
        drawn = segments or {"Liver": LIVER, "Left_Kidney": KIDNEY, "couch": a_box(0, 0, 0)}
        with batch_driving.an_empty_scene():
            nodes = [add_volume(f"CT {number}", seed=number) for number in range(volumes)]
            add_segmentation(nodes[-1], drawn)
            self.assertTrue(slicer.util.saveScene(str(path)))
        self.before = node_ids()

    def labels(self, case: str) -> np.ndarray:
        cohort = self.cohort()
        path = cohort.label_path(cohort.case(case))
        return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))

    def image(self, case: str) -> sitk.Image:
        cohort = self.cohort()
        return sitk.ReadImage(str(cohort.image_path(cohort.case(case))))


class SceneTest(ImportCase):
    def test_every_volume_of_a_scene_is_a_case_and_the_segmentation_over_one_its_labels(self) -> None:
        self.make_scene(self.scans / "study.mrb")
        said = self.batch("import", self.folder, self.scans)
        self.assertEqual((said.code, said.err), (0, ""), said.out)
        self.assertIn(f"2 imported into {self.folder}", said.out)
        self.assertIn("case_0002: No organ of the cohort, and left out: couch.", said.out)
        first, second = self.cohort().cases
        self.assertEqual((first.is_annotated, second.annotated), (False, ["liver", "left kidney"]))
        np.testing.assert_array_equal(self.labels("case_0002"), 3 * LIVER + 7 * KIDNEY)
        voxels = np.random.default_rng(1).integers(-1000, 800, SHAPE).astype(np.int16)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(self.image("case_0002")), voxels)
        np.testing.assert_allclose(self.image("case_0002").GetOrigin(), (31.25, -12.5, 800.0625), atol=1e-9)
        self.assertEqual(node_ids(), self.before)
        self.assertEqual(list((self.folder / "jobs").glob("*-*")), [])

    def test_a_scene_that_is_imported_again_is_refused_and_the_exit_code_says_so(self) -> None:
        self.make_scene(self.scans / "study.mrb", volumes=1)
        self.batch("import", self.folder, self.scans / "study.mrb")
        said = self.batch("import", self.folder, self.scans / "study.mrb")
        self.assertEqual((said.code, said.err), (2, "Not imported: 1.\n"))
        self.assertIn("study.mrb: The volume is in the cohort already, as case_0001.", said.out)
        self.assertEqual(len(self.cohort().cases), 1)

    def test_what_is_unclear_in_a_scene_is_told_of_and_left_out(self) -> None:
        (self.scans / "damaged.mrb").write_bytes(b"no scene")
        with batch_driving.an_empty_scene():
            volume = add_volume("CT", seed=1)
            for _ in range(2):
                add_segmentation(volume, {"liver": LIVER})
            slicer.util.saveScene(str(self.scans / "doubly.mrb"))
        with batch_driving.an_empty_scene():
            add_segmentation(add_volume("CT", seed=2), {"liver": LIVER}, over=False)
            slicer.util.saveScene(str(self.scans / "lone.mrb"))
        here = Path.cwd()
        said = self.batch("import", self.folder, self.scans)
        self.assertEqual((said.code, said.err), (2, "Not imported: 1.\n"), said.out)
        self.assertIn("damaged.mrb: Slicer cannot open the file.", said.out)
        self.assertIn("case_0001: Several segmentations lie over it, and none was taken", said.out)
        # Where there is one volume and one segmentation, they belong together even if nothing says so.
        self.assertEqual([case.is_annotated for case in self.cohort().cases], [False, True])
        np.testing.assert_array_equal(self.labels("case_0002"), 3 * LIVER)
        self.assertEqual(Path.cwd(), here)

    def test_scenes_lie_among_files_that_the_backend_reads(self) -> None:
        (self.scans / "deep").mkdir()
        self.make_scene(self.scans / "deep" / "study.mrb")
        tiny_training.write_volumes(self.scans, "one", seed=1)
        said = self.batch("import", self.folder, self.scans / "images", self.scans / "deep")
        self.assertEqual((said.code, said.err), (0, ""), said.out)
        self.assertIn("3 imported into", said.out)
        stays = [self.cohort().image_path(case).is_relative_to(self.scans) for case in self.cohort().cases]
        self.assertEqual(stays, [False, False, True])

    def test_a_format_that_only_slicer_opens_comes_with_the_segmentation_beside_it(self) -> None:
        with batch_driving.an_empty_scene():
            volume = add_volume("head", seed=1)
            segmentation = add_segmentation(volume, {"liver": LIVER})
            self.assertTrue(slicer.util.saveNode(volume, self.scans / "head.nrrd"))
            self.assertTrue(slicer.util.saveNode(segmentation, self.scans / "head.seg.nrrd"))
        sitk.WriteImage(sitk.ReadImage(str(self.scans / "head.nrrd")), str(self.scans / "head.hdr"))
        (self.scans / "head.nrrd").unlink()
        said = self.batch("import", self.folder, self.scans)
        self.assertEqual(said.code, 0, said.out + said.err)
        self.assertEqual([case.annotated for case in self.cohort().cases], [["liver"]])
        np.testing.assert_array_equal(self.labels("case_0001"), 3 * LIVER)
        self.assertIn("head.seg.nrrd", {path.name for path in self.scans.iterdir()})

    def test_where_nothing_is_any_good_each_file_is_told_of(self) -> None:
        (self.scans / "one.nii.gz").write_bytes(b"no volume")
        said = self.batch("import", self.folder, self.scans)
        self.assertEqual(said.code, 2)
        self.assertEqual(said.err, "Not imported: 1.\n")
        self.assertIn(f"not imported: {self.scans / 'one.nii.gz'}", said.out)


class DicomTest(ImportCase):
    def write_series(self, folder: Path, uid: str, value: int) -> list[Path]:
        """Slices as SimpleITK writes them."""
        folder.mkdir(exist_ok=True)
        files = []
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        for index in range(4):
            slice_ = sitk.GetImageFromArray(np.full((1, 8, 8), value + index, np.int16))
            tags = {
                "0008|0016": "1.2.840.10008.5.1.4.1.1.2", "0008|0018": f"{uid}.{index + 1}",
                "0008|0060": "CT", "0020|000e": uid, "0020|000d": "1.2.3", "0020|0013": str(index + 1),
                "0020|0032": f"0\\0\\{2.5 * index}", "0020|0037": "1\\0\\0\\0\\1\\0", "0028|0030": "1.5\\1.5",
                "0010|0010": "DOE^JOHN", "0028|1052": "0", "0028|1053": "1",
            }  # fmt: skip
            for tag, text in tags.items():
                slice_.SetMetaData(tag, text)
            files.append(folder / f"{uid}.{index}.dcm")
            writer.SetFileName(str(files[-1]))
            writer.Execute(slice_)
        return files

    def test_a_folder_of_one_series_is_left_to_the_backend_and_stays_where_it_is(self) -> None:
        self.write_series(self.scans / "series", "1.2.3.4", -500)
        for number in (1, 2):
            self.write_series(self.scans / "mixed", f"1.2.3.{number}", 100 * number)
        with mock.patch.dict(sys.modules, {"DICOMLib": None}):
            said = self.batch("import", self.folder, self.scans)
        (case,) = self.cohort().cases
        self.assertEqual(self.cohort().image_path(case), self.scans / "series")
        self.assertEqual(said.code, 2)
        self.assertIn("mixed: The folder holds 2 series", said.out)

    def test_the_dicom_module_sorts_a_folder_of_two_series(self) -> None:
        files = {
            uid: self.write_series(self.scans / "mixed", uid, 9 * len(uid)) for uid in ("1.2.3.4", "1.2.3.45")
        }
        self.write_series(self.scans / "single", "1.2.3.6", 1)
        with a_dicom_module(files) as indexed:
            said = self.batch("import", self.folder, self.scans)
        self.assertEqual(indexed, [str(self.scans / "mixed"), "closed"])
        self.assertEqual(said.code, 0, said.out + said.err)
        cohort = self.cohort()
        self.assertEqual(len(cohort.cases), 3)
        copied = [case for case in cohort.cases if case.image.startswith("images/")]
        values = sorted(int(sitk.GetArrayFromImage(self.image(case.id)).min()) for case in copied)
        self.assertEqual(values, [9 * 7, 9 * 8])
        self.assertNotIn("DOE", (self.folder / "cohort.json").read_text())


class InitTest(ImportCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = self.place / "new"

    def test_scenes_are_added_to_what_the_backend_made(self) -> None:
        tiny_training.write_volumes(self.scans, "one", seed=1)
        self.make_scene(self.scans / "images" / "study.mrb")
        said = self.batch(
            "init", self.folder, "--images", self.scans / "images", "--organs", "liver=1,spleen=7"
        )
        self.assertEqual(said.code, 0, said.err)
        self.assertEqual([case.annotated for case in self.cohort().cases], [[], [], ["liver"]])

    def test_a_cohort_of_scenes_alone_needs_to_be_told_the_modality(self) -> None:
        self.make_scene(self.scans / "study.mrb")
        words = ("init", self.folder, "--images", self.scans, "--organs", ORGANS)
        said = self.batch(*words)
        self.assertEqual(said.code, 2)
        self.assertIn("Add --modality CT or --modality MR.", said.err)
        self.assertFalse(self.folder.exists())
        (self.scans / "study.mrb").rename(self.place / "good.mrb")
        (self.scans / "study.mrb").write_bytes(b"no scene")
        self.assertEqual(self.batch(*words, "--modality", "MR").code, 2)
        self.assertFalse(self.folder.exists(), "nothing is left of a cohort of nothing")
        (self.place / "good.mrb").replace(self.scans / "study.mrb")
        here = Path.cwd()
        self.addCleanup(os.chdir, here)
        os.chdir(self.place)
        words = (
            "init",
            "new",
            "--images",
            "scans",
            "--organs",
            ORGANS,
        )  # paths start where the batch was started
        said = self.batch(*words, "--modality", "MR")
        self.assertEqual(said.code, 0, said.err)
        self.assertEqual((self.cohort().modality, self.cohort().name), ("MR", "new"))
        self.assertEqual([case.is_annotated for case in self.cohort().cases], [False, True])

    def test_organs_come_from_a_segmentation_with_names_colours_and_terminology(self) -> None:
        with batch_driving.an_empty_scene():
            node = add_segmentation(add_volume("CT", seed=1), {"Leber": LIVER, "Left Kidney": KIDNEY})
            segment = node.GetSegmentation().GetNthSegment(0)
            segment.SetColor(0.8, 0.4, 0.2)
            segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), LIVER_TERM)
            slicer.util.saveNode(node, self.place / "drawn.seg.nrrd")
        tiny_training.write_volumes(self.scans, "one", seed=1)
        words = (f"--images={self.scans / 'images'}", "--organs", self.place / "drawn.seg.nrrd")
        said = self.batch("init", self.folder, *words, "--labels", self.scans / "labels")
        self.assertEqual(said.code, 2, "the label map holds 7, which is no organ")
        shutil.rmtree(self.scans / "labels")
        said = self.batch("init", self.folder, *words)
        self.assertEqual(said.code, 0, said.err)
        self.assertIn("1 imported into", said.out)
        labels: LabelTable = self.cohort().labels
        self.assertEqual([(label.name, label.value) for label in labels], [("Leber", 1), ("Left Kidney", 2)])
        self.assertEqual((labels[0].color, labels[0].terminology), ((204, 102, 51), LIVER_TERM))


@contextlib.contextmanager
def a_dicom_module(series: dict[str, list[Path]]) -> Iterator[list[str]]:
    """Slicer's DICOMLib with a database that finds these series; what was asked of it."""
    asked: list[str] = []
    database = types.SimpleNamespace(
        patients=lambda: ("1",),
        studiesForPatient=lambda _patient: ("1.2.3",),
        seriesForStudy=lambda _study: (*series, "9.9"),
        filesForSeries=lambda uid: tuple(map(str, series[uid])),
        fieldForSeries=lambda _field, uid: "CT" if uid in series else "RTSTRUCT",
        closeDatabase=lambda: asked.append("closed"),
    )
    utils: Any = types.SimpleNamespace(
        createTemporaryDatabase=lambda _folder: database,
        importDicom=lambda folder, _database: asked.append(folder),
    )
    module: Any = types.ModuleType("DICOMLib")
    module.DICOMUtils = utils
    with mock.patch.dict(sys.modules, {"DICOMLib": module}):
        yield asked


if __name__ == "__main__":
    unittest.main()
