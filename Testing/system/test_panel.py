"""The module's panel as a person uses it: the whole loop from an empty folder to exported segmentations."""

from __future__ import annotations

import csv
import json
import unittest
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer
import vtk
from panel_driving import PanelCase
from SSLSegmentationLib.logic.JobLogic import AFTER_TRAINING
from SSLSegmentationLib.logic.SceneNodes import ownedNodes
from SSLSegmentationLib.logic.WorkProgress import Section
from tiny_scans import DIRECTION, ORGANS, ORIGIN, SPACING, Scan, a_scan, ijk_to_ras, write_scan

from sslseg.contract.cohort import AnnotatedSlices, ReviewState
from sslseg.contract.settings import TrainSettings

SCANS = 6
STEPS = 40
"""Of a training: enough that every organ is found."""
FOUND = 0.4
"""Dice that a prediction reaches in no other way than by learning."""
DRAWN_SLICES = [6, 7, 8]
"""The axial slices on which the liver of one case is drawn."""


class WholeLoopTest(PanelCase):
    """One test of many steps: each goes on where the one before has left the panel."""

    def test_from_an_empty_folder_to_exported_segmentations(self) -> None:
        self.somebody_uses_the_scene_already()
        self.the_test_of_the_backend_is_started()
        self.a_cohort_is_made_with_organs_of_a_preset()
        self.volumes_of_files_and_of_the_scene_become_cases()
        self.three_cases_are_annotated_and_saved_on_the_way()
        self.the_backend_works()
        self.a_model_is_trained_while_another_case_is_open()
        self.all_cases_are_segmented_afterwards()
        self.the_first_case_of_the_queue_is_corrected()
        self.the_second_one_is_rejected_and_a_decision_taken_back()
        self.the_model_is_trained_on_from_where_it_was()
        self.what_was_drawn_and_accepted_is_exported_meanwhile_and_opens_in_slicer()
        self.the_second_model_is_there()
        self.label_maps_of_all_cases_and_their_volumes_leave()
        self.the_model_leaves_as_a_bundle()
        self.the_scene_is_left_as_it_was_found()
        self.assertEqual(self.errors, [])

    def somebody_uses_the_scene_already(self) -> None:
        self.mine = slicer.util.addVolumeFromArray(a_scan(SCANS - 1).image, ijk_to_ras(), "Mr. Doe, CT")
        self.mine.GetDisplayNode().SetAutoWindowLevel(False)
        self.mine.GetDisplayNode().SetWindowLevel(300.0, 40.0)
        slicer.util.setSliceViewerLayers(background=self.mine)
        drawn = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "my drawing")
        drawn.CreateDefaultDisplayNodes()
        drawn.SetReferenceImageGeometryParameterFromVolumeNode(self.mine)
        drawn.GetSegmentation().AddEmptySegment("tumour", "tumour")
        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "my model")
        self.before = self.scene()

    def the_test_of_the_backend_is_started(self) -> None:
        self.use_this_python()
        self.assertIn("Ready", self.ui(Section.SETUP).stateLabel.text)
        self.assertFalse(self.panel.section(Section.COHORT).collapsed)
        self.ui(Section.SETUP).testButton.click()

    def the_backend_works(self) -> None:
        self.until(lambda: self.panel.setupLogic.report is not None, "the test of the backend")
        self.assertIn("The backend works on", self.ui(Section.SETUP).reportLabel.text)

    def a_cohort_is_made_with_organs_of_a_preset(self) -> None:
        self.in_dialog(self._fill_new_cohort, self.ui(Section.COHORT).newButton.click)
        self.assertEqual(self.cohorts.folder, self.folder)
        self.values = {label.name: label.value for label in self.cohorts.cohort.labels}
        self.assertEqual(set(self.values), set(ORGANS))

    def volumes_of_files_and_of_the_scene_become_cases(self) -> None:
        files = [self.place / "scans" / f"doe_{number}.nii.gz" for number in range(SCANS - 1)]
        for number, path in enumerate(files):
            write_scan(path, _scan(number))
        self.add_files(files)
        add = self.ui(Section.COHORT).addButton
        self.in_dialog(lambda ui: None, lambda: self.choose(add, "From the scene"))
        self.until(lambda: not self.adding.isBusy, "the import from the scene")
        # The drawing that belongs to the volume is offered as its annotation.
        (remark,) = self.adding.refusals
        self.assertIn("left out: tumour", remark.reason)
        ids = [row.id for row in self.cohorts.rows()]
        self.assertEqual(ids, [f"case_{number:04d}" for number in range(1, SCANS + 1)])
        self.scans = {}
        for number, name in enumerate(ids):
            image = sitk.ReadImage(str(self.cohorts.cohort.image_path(self.on_disk(name))))
            self.scans[name] = _scan(number)
            np.testing.assert_array_equal(sitk.GetArrayFromImage(image), self.scans[name].image)
            self.assert_lies_where_the_scans_do(image)
        self.assertNotIn("doe", (self.folder / "cohort.json").read_text().lower())

    def three_cases_are_annotated_and_saved_on_the_way(self) -> None:
        whole, absent, slices, *_others = self.scans
        for name in (whole, absent, slices):
            self.open_from_table(name)
            for organ, voxels in self.scans[name].organs.items():
                if (name, organ) == (slices, "liver"):
                    self.paint(organ, _on_slices(voxels))
                    self.mark(organ, "drawnSlicesButton")
                elif voxels.any():
                    self.paint(organ, voxels)
                    self.mark(organ, "completeButton")
                else:
                    self.mark(organ, "completeButton")
                    self.assertIn(f"Nothing is drawn as {organ}", self.questions[-1])
        self.assertFalse(self.panel.section(Section.ANNOTATE).collapsed)
        self.until(lambda: self.on_disk(absent).is_annotated, "saving on the way")
        for name in (whole, absent):
            self.assertEqual(set(self.on_disk(name).annotated), set(ORGANS))
            self.assertEqual(self.on_disk(name).review, ReviewState.COMPLETED)
            self.assert_saved(name, self.scans[name].organs)

    def a_model_is_trained_while_another_case_is_open(self) -> None:
        ui, partly = self.ui(Section.TRAIN), list(self.scans)[2]
        self.assertFalse(self.panel.section(Section.TRAIN).collapsed)
        ui.methodCombo.currentIndex = ui.methodCombo.findData("mean_teacher")
        ui.presetCombo.currentIndex = ui.presetCombo.findData("quick")
        ui.networkCombo.currentIndex = ui.networkCombo.findData("unet")
        ui.deviceCombo.currentText = "cpu"
        ui.nameEdit.text = "first"
        ui.stepsSpin.value, ui.heldBackSpin.value = STEPS, 1
        ui.trainButton.click()
        self.open_from_table(list(self.scans)[3])
        training = self.wait_for_job("train")
        # What was still open when the button was clicked was saved before.
        liver = {"liver": AnnotatedSlices("k", DRAWN_SLICES)}
        self.assertEqual(
            (self.on_disk(partly).slices, self.on_disk(partly).review), (liver, ReviewState.IN_PROGRESS)
        )
        drawn = self.scans[partly].organs
        self.assert_saved(partly, drawn | {"liver": _on_slices(drawn["liver"])})
        self.assertEqual(training.losses.rows[-1][0], STEPS)
        curves = [node for node in ownedNodes("curves") if node.IsA("vtkMRMLTableNode")]
        rows = {node.GetName(): node.GetTable().GetNumberOfRows() for node in curves}
        self.assertGreater(rows["Losses"], 1)
        self.assertEqual(rows["Dice on the held-back cases"], len(training.validation))
        self.assertGreater(rows["Dice on the held-back cases"], 0)

    def all_cases_are_segmented_afterwards(self) -> None:
        for command in AFTER_TRAINING:
            self.wait_for_job(command)
        cohort = self.cohorts.cohort
        self.predictions = {
            name: sitk.GetArrayFromImage(sitk.ReadImage(str(cohort.prediction_path("first", name))))
            for name in self.scans
        }
        for name in list(self.scans)[3:]:
            for organ, voxels in self.scans[name].organs.items():
                found = self.predicted(name, organ)
                dice = 2 * (found & voxels).sum() / (found.sum() + voxels.sum())
                self.assertGreater(dice, FOUND, f"{organ} of {name}")

    def the_first_case_of_the_queue_is_corrected(self) -> None:
        ui = self.ui(Section.REVIEW)
        self.until(lambda: ui.queueTable.rowCount == 3, "the queue")
        self.assertFalse(self.panel.section(Section.REVIEW).collapsed)
        self.queue = [ui.queueTable.item(row, 0).text() for row in range(3)]
        self.assertEqual(set(self.queue), set(list(self.scans)[3:]))
        for row in range(3):
            self.assertTrue(ui.queueTable.item(row, 3).text(), "a case without a reason")
        first = self.queue[0]
        ui.queueTable.cellDoubleClicked(0, 0)
        self.until(
            lambda: self.cases.caseId == first and "prediction" in self.cases.source, "opening for review"
        )
        self.select_organ(Section.REVIEW, "liver")
        ui.acceptButton.click()
        self.select_organ(Section.REVIEW, "right kidney")
        ui.correctButton.click()
        self.assertEqual(
            self.ui(Section.ANNOTATE).organTable.currentRow(), list(self.values).index("right kidney")
        )
        others = self.painted("liver") | self.painted("spleen")
        self.corrected = self.scans[first].organs["right kidney"] & ~others
        self.paint("right kidney", self.corrected)
        self.select_organ(Section.REVIEW, "right kidney")
        ui.acceptButton.click()
        ui.acceptCaseButton.click()
        self.until(lambda: self.cases.caseId == self.queue[1], "the next case")
        self.saved()
        case = self.on_disk(first)
        self.assertEqual((set(case.annotated), case.review), (set(ORGANS), ReviewState.COMPLETED))
        self.assertEqual(
            (case.provenance["review"], case.provenance["reviewed model"]), ("corrected", "first")
        )
        self.reviewed = {organ: self.predicted(first, organ) for organ in ORGANS} | {
            "right kidney": self.corrected
        }
        self.assert_saved(first, self.reviewed)

    def the_second_one_is_rejected_and_a_decision_taken_back(self) -> None:
        ui = self.ui(Section.REVIEW)
        self.select_organ(Section.REVIEW, "spleen")
        ui.rejectButton.click()
        self.select_organ(Section.REVIEW, "liver")
        ui.acceptButton.click()
        ui.undoButton.click()
        self.assertIs(self.cases.organStatus("spleen"), ReviewState.FLAGGED)
        self.assertIs(self.cases.organStatus("liver"), ReviewState.NOT_STARTED)
        self.assertIn("1 of 3 reviewed", ui.progressLabel.text)

    def the_model_is_trained_on_from_where_it_was(self) -> None:
        self.ui(Section.REVIEW).retrainButton.click()
        self.until(lambda: len(self.jobs.trainings) == 2, "the start of the second training")
        case = self.on_disk(self.queue[1])
        self.assertEqual((case.annotated, case.review), ([], ReviewState.FLAGGED))
        self.assertIs(case.organ_review["liver"], ReviewState.NOT_STARTED)
        self.assertNotIn("review", case.provenance)
        # Nothing is to follow this time; that can be changed while it runs.
        self.ui(Section.TRAIN).thenCheck.click()

    def the_second_model_is_there(self) -> None:
        settings = self.wait_for_job("train").job.settings
        self.assertIsInstance(settings, TrainSettings)
        self.assertEqual((settings.start_from, settings.model, settings.steps), ("first", "first-2", STEPS))
        self.assertEqual(self.cohorts.models, ["first-2", "first"])
        self.assertEqual(self.jobs.active, [])

    def what_was_drawn_and_accepted_is_exported_meanwhile_and_opens_in_slicer(self) -> None:
        exported = self.export("accepted", "seg.nrrd")
        annotated = [*list(self.scans)[:3], self.queue[0]]
        self.assertEqual(
            sorted(exported), sorted([*(f"{name}.seg.nrrd" for name in annotated), "volumes.csv"])
        )
        for name in annotated:
            node = slicer.util.loadSegmentation(str(exported[f"{name}.seg.nrrd"]))
            expected = dict(self.reviewed if name == self.queue[0] else self.scans[name].organs)
            if name == annotated[2]:
                del expected["liver"]  # drawn on some slices only
            segmentation = node.GetSegmentation()
            ids = {segmentation.GetSegment(one).GetName(): one for one in segmentation.GetSegmentIDs()}
            self.assertEqual(set(ids), set(expected))
            for organ, voxels in expected.items():
                found = slicer.util.arrayFromSegmentBinaryLabelmap(node, ids[organ], self.mine)
                np.testing.assert_array_equal(found.astype(bool), voxels, f"{organ} of {name}")
                term = vtk.reference("")
                segmentation.GetSegment(ids[organ]).GetTag(
                    slicer.vtkSegment.GetTerminologyEntryTagName(), term
                )
                self.assertIn("SCT^123037004", str(term))
            slicer.mrmlScene.RemoveNode(node)

    def label_maps_of_all_cases_and_their_volumes_leave(self) -> None:
        box = self.ui(Section.COHORT).modelBox
        box.currentIndex = [box.itemText(index) for index in range(box.count)].index("first")
        box.activated(box.currentIndex)
        exported = self.export("best", "nifti")
        for name in self.scans:
            image = sitk.ReadImage(str(exported[f"{name}.nii.gz"]))
            self.assert_lies_where_the_scans_do(image)
            found = sitk.GetArrayFromImage(image)
            if name in self.queue[1:]:
                np.testing.assert_array_equal(found, self.predictions[name], name)
            elif name == self.queue[0]:
                np.testing.assert_array_equal(found, self.label_map(self.reviewed), name)
        with exported["volumes.csv"].open(newline="") as file:
            volumes = {(row["case"], row["organ"]): float(row["volume_ml"]) for row in csv.DictReader(file)}
        voxel = np.prod(SPACING) / 1000
        self.assertAlmostEqual(volumes[self.queue[0], "right kidney"], self.corrected.sum() * voxel, places=2)
        self.ui(Section.EXPORT).tableButton.click()
        table = ownedNodes("volumes")[0].GetTable()
        self.assertEqual(table.GetNumberOfRows(), SCANS)
        row = list(self.scans).index(self.queue[0])
        shown = table.GetValueByName(row, "right kidney").ToDouble()
        self.assertEqual(shown, volumes[self.queue[0], "right kidney"])

    def the_model_leaves_as_a_bundle(self) -> None:
        self.ui(Section.EXPORT).modelButton.click()
        self.wait_for_job("export-model")
        metadata = json.loads(
            (self.place / "exported" / "first-bundle" / "configs" / "metadata.json").read_text()
        )
        self.assertTrue(
            set(ORGANS) <= set(json.dumps(metadata).split('"')), "the bundle does not name its organs"
        )

    def the_scene_is_left_as_it_was_found(self) -> None:
        self.cohorts.closeCohort()
        self.saved()
        self.assertEqual([node.GetName() for node in ownedNodes()], [])
        after = self.scene()
        self.assertEqual({key: after.get(key) for key in self.before}, self.before)

    def export(self, source: str, form: str) -> dict[str, Path]:
        """Export all cases through the panel; the files by their names."""
        ui, jobs = self.ui(Section.EXPORT), len(self.jobs.monitors)
        ui.folderEdit.currentPath = str(self.place / "exported")
        ui.sourceBox.currentIndex = ui.sourceBox.findData(source)
        ui.formatBox.currentIndex = ui.formatBox.findData(form)
        ui.exportButton.click()
        self.until(lambda: len(self.jobs.monitors) > jobs, "the start of the export")
        self.wait_for_job("export")
        return {path.name: path for path in self.panel.panels[Section.EXPORT].export.results()}

    def predicted(self, name: str, organ: str) -> np.ndarray:
        return self.predictions[name] == self.values[organ]

    def label_map(self, organs: dict[str, np.ndarray]) -> np.ndarray:
        """The organs with the values that the cohort declares."""
        return sum(self.values[organ] * voxels for organ, voxels in organs.items())

    def assert_saved(self, name: str, organs: dict[str, np.ndarray]) -> None:
        """The label map of a case holds exactly these organs, and lies on its image."""
        image = sitk.ReadImage(str(self.folder / "labels" / f"{name}.nii.gz"))
        self.assert_lies_where_the_scans_do(image)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image), self.label_map(organs), name)

    def assert_lies_where_the_scans_do(self, image: Any) -> None:
        np.testing.assert_allclose(image.GetSpacing(), SPACING, atol=1e-4)
        np.testing.assert_allclose(image.GetOrigin(), ORIGIN, atol=1e-3)
        np.testing.assert_allclose(image.GetDirection(), DIRECTION, atol=1e-5)

    def scene(self) -> dict[str, tuple[Any, ...]]:
        """What a person sees of the nodes that are theirs."""
        views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        found = {node.GetID(): (node.GetBackgroundVolumeID(), node.GetForegroundVolumeID()) for node in views}
        for kind in ("vtkMRMLDisplayableNode", "vtkMRMLDisplayNode"):
            for node in slicer.util.getNodesByClass(kind):
                found[node.GetID()] = (node.GetName(), node.GetMTime())
        image = self.mine.GetImageData()
        return found | {"voxels": (image.GetMTime(), self.mine.GetDisplayNode().GetWindow())}

    def _fill_new_cohort(self, ui: Any) -> None:
        ui.nameEdit.text = self.folder.name
        ui.placeEdit.currentPath = str(self.folder.parent)
        presets = [ui.presetBox.itemText(index) for index in range(ui.presetBox.count)]
        ui.presetBox.currentIndex = presets.index("Abdomen CT")
        for row in reversed(range(ui.organTable.rowCount)):
            if ui.organTable.item(row, 0).text() not in ORGANS:
                ui.organTable.setCurrentCell(row, 0)
                ui.removeButton.click()


def _scan(number: int) -> Scan:
    """The second one has lost a kidney."""
    return a_scan(number, without="right kidney" if number == 1 else "")


def _on_slices(voxels: np.ndarray) -> np.ndarray:
    kept = np.zeros_like(voxels)
    kept[DRAWN_SLICES] = voxels[DRAWN_SLICES]
    return kept


if __name__ == "__main__":
    unittest.main()
