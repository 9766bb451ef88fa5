"""The dialogs of the Cohort section: a new cohort, volumes of the scene, files, DICOM series."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import qt
import slicer
from cohort_doubles import Asked, CohortCase, make_cohort
from SSLSegmentationLib.logic.OrganPresets import ownTerminology, readPresets, terminologyInWords
from SSLSegmentationLib.widgets import TermPicker
from SSLSegmentationLib.widgets.AddFilesDialog import AddFilesDialog
from SSLSegmentationLib.widgets.DicomSeriesDialog import FILES, MODALITY, NAME, DicomSeriesDialog
from SSLSegmentationLib.widgets.NewCohortDialog import NewCohortDialog, folderName
from SSLSegmentationLib.widgets.OrganEditor import ORGAN, TERM, VALUE
from SSLSegmentationLib.widgets.SceneVolumesDialog import SceneVolumesDialog
from SSLSegmentationLib.widgets.TermPicker import pickTerminology

from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import parse_labels
from sslseg.contract.settings import DicomSeries, ImportSettings


class NewCohortTest(CohortCase):
    def setUp(self) -> None:
        super().setUp()
        self.confirm, self.errors = Asked(), Asked()
        self.color: tuple[int, int, int] | None = (1, 2, 3)
        self.term: str | None = "a term"
        self.dialog = NewCohortDialog(
            self.logic,
            place=self.place,
            confirm=self.confirm,
            showError=self.errors,
            pickColor=lambda _color: self.color,
            pickTerm=lambda _term, _name: self.term,
        )
        self.ui, self.organs = self.dialog.ui, self.dialog.organs
        self.ok_button = self.ui.buttonBox.button(qt.QDialogButtonBox.Ok)

    def choosePreset(self, title: str) -> None:
        self.ui.presetBox.setCurrentIndex(self.ui.presetBox.findText(title))

    def names(self) -> list[str]:
        return [label.name for label in self.organs.labels]

    def type(self, row: int, column: int, text: str) -> None:
        self.ui.organTable.item(row, column).setText(text)

    def test_a_name_a_place_and_a_preset_make_a_cohort(self) -> None:
        self.assertFalse(self.ok_button.enabled)
        self.ui.nameEdit.text = "Hearts: 2026/1"
        self.choosePreset("Heart")
        self.assertTrue(self.ok_button.enabled)
        self.ui.modalityBox.setCurrentText("MR")
        self.ok_button.click()
        cohort = self.logic.cohort
        assert cohort is not None
        self.assertEqual((cohort.folder, cohort.name), (self.place / "Hearts 2026 1", "Hearts: 2026/1"))
        heart = next(preset for preset in readPresets() if preset.title == "Heart")
        self.assertEqual((cohort.modality, list(cohort.labels)), ("MR", list(heart.labels)))
        self.assertEqual(self.dialog.widget.result(), 1)

    def test_the_dialog_is_gone_once_it_was_answered(self) -> None:
        widget = self.dialog.widget
        qt.QTimer.singleShot(0, widget.reject)
        self.assertFalse(self.dialog.ask())
        qt.QCoreApplication.sendPostedEvents(None, qt.QEvent.DeferredDelete)
        self.assertFalse(bool(widget))

    def test_a_preset_brings_the_kind_of_images_it_is_meant_for(self) -> None:
        for title, modality in (("Brain MR", "MR"), ("Heart", "MR"), ("Abdomen CT", "CT"), ("Heart", "CT")):
            self.choosePreset(title)
            self.assertEqual(self.ui.modalityBox.currentText, modality, title)

    def test_a_folder_that_holds_a_cohort_is_told_and_the_dialog_stays(self) -> None:
        make_cohort(self.place / "taken", 1)
        self.ui.nameEdit.text = "taken"
        self.ok_button.click()
        self.assertIn("a cohort here already", self.ui.noteLabel.text)
        self.assertEqual((self.logic.cohort, self.dialog.widget.result()), (None, 0))
        self.ui.nameEdit.text = "taken 2"
        self.assertIn("The cohort will be in", self.ui.noteLabel.text)

    def test_organs_are_renamed_renumbered_coloured_and_termed(self) -> None:
        self.choosePreset("Heart")
        self.type(0, ORGAN, "LV")
        self.type(0, VALUE, "77")
        self.ui.organTable.setCurrentCell(0, ORGAN)
        self.ui.colorButton.click()
        self.ui.termButton.click()
        label = self.organs.labels[0]
        self.assertEqual(
            (label.name, label.value, label.color, label.terminology), ("LV", 77, (1, 2, 3), "a term")
        )
        self.color = self.term = None
        self.ui.colorButton.click()
        self.ui.organTable.cellDoubleClicked.emit(0, TERM)
        self.assertEqual(self.organs.labels[0], label)

    def test_what_cannot_be_an_organ_is_refused_and_taken_back(self) -> None:
        for column, text, reason in (
            (VALUE, "255", "1 to 254"),
            (VALUE, "x", "1 to 254"),
            (ORGAN, " ", "no name"),
        ):
            before = self.organs.labels
            self.type(0, column, text)
            self.assertIn(reason, self.errors.sentences[-1])
            self.assertEqual(self.organs.labels, before)
            self.assertNotEqual(self.ui.organTable.item(0, column).text(), text)

    def test_organs_that_clash_are_said_and_no_cohort_is_made(self) -> None:
        self.ui.nameEdit.text = "new"
        self.type(1, ORGAN, "SPLEEN")
        self.assertIn("is declared twice", self.ui.noteLabel.text)
        self.assertFalse(self.ok_button.enabled)
        self.dialog.onAccept()
        self.assertIsNone(self.logic.cohort)
        self.type(1, ORGAN, "right kidney")
        self.type(1, VALUE, "1")
        self.assertIn("both have the value 1", self.ui.noteLabel.text)

    def test_organs_are_added_removed_and_moved(self) -> None:
        self.choosePreset("My own list")
        self.ui.addButton.click()
        self.assertEqual(
            [(label.name, label.value) for label in self.organs.labels],
            [("new organ", 1), ("new organ 2", 2)],
        )
        self.ui.upButton.click()
        self.ui.upButton.click()
        self.assertEqual(self.names(), ["new organ 2", "new organ"])
        self.ui.downButton.click()
        self.ui.downButton.click()
        self.assertEqual(self.names(), ["new organ", "new organ 2"])
        self.ui.organTable.selectAll()
        self.ui.removeButton.click()
        self.assertEqual(self.names(), [])
        self.assertIn("at least one organ", self.ui.noteLabel.text)

    def test_organs_that_were_changed_are_not_replaced_without_asking(self) -> None:
        self.choosePreset("Heart")
        self.assertFalse(self.confirm.sentences)
        self.type(0, ORGAN, "LV")
        self.confirm.answer = False
        self.choosePreset("Brain MR")
        self.assertEqual((self.names()[0], self.ui.presetBox.currentText), ("LV", "Heart"))
        self.confirm.answer = True
        self.choosePreset("Brain MR")
        self.assertEqual(self.names()[0], "brainstem")

    def test_a_damaged_preset_is_named(self) -> None:
        (self.place / "Bad.json").write_text('{"title": "Bad", "labels": []}')
        with self.assertRaisesRegex(SSLSegError, "no list of organs"):
            readPresets(self.place)

    def test_names_of_folders_are_allowed_everywhere(self) -> None:
        names = {"a/b\\c": "a b c", " dots... ": "dots", 'q"<>|?*:': "q", "Ärzte 1": "Ärzte 1", "...": ""}
        self.assertEqual({name: folderName(name) for name in names}, names)


class TermTest(CohortCase):
    LIVER = ownTerminology("10200004", "Liver")

    def answer(self, text: str) -> str | None:
        # Slicer's own selector speaks C++ alone, so that it is there must change nothing.
        selector = patch.object(slicer, "qSlicerTerminologySelectorButton", None, create=True)
        with selector, patch.object(TermPicker.qt.QInputDialog, "getText", return_value=text, create=True):
            return pickTerminology(self.LIVER, "liver")

    def test_a_code_and_its_meaning_are_asked_for(self) -> None:
        term = self.answer("78961009 Spleen")
        self.assertEqual(terminologyInWords(term), "Spleen")
        entry = slicer.vtkSlicerTerminologyEntry()
        self.assertTrue(slicer.modules.terminologies.logic().DeserializeTerminologyEntry(term, entry))
        self.assertEqual(entry.GetTypeObject().GetCodeValue(), "78961009")

    def test_slicer_understands_every_term_of_the_presets(self) -> None:
        logic = slicer.modules.terminologies.logic()
        for label in (label for preset in readPresets() for label in preset.labels):
            entry = slicer.vtkSlicerTerminologyEntry()
            self.assertTrue(logic.DeserializeTerminologyEntry(label.terminology, entry), label.name)
            self.assertEqual(logic.SerializeTerminologyEntry(entry), label.terminology)
            kind, modifier = entry.GetTypeObject(), entry.GetTypeModifierObject()
            words = [kind.GetCodeMeaning(), modifier.GetCodeMeaning()]
            self.assertEqual(terminologyInWords(label.terminology), ", ".join(word for word in words if word))

    def test_no_answer_is_no_choice_and_nonsense_is_refused(self) -> None:
        self.assertIsNone(self.answer(""))
        self.assertIsNone(self.answer("10200004 Liver"))
        for text in ("spleen", "78961009", "12 Spleen", "78961009 Spl~een"):
            with self.assertRaises(SSLSegError):
                self.answer(text)


class SceneVolumesTest(CohortCase):
    def setUp(self) -> None:
        super().setUp()
        slicer.mrmlScene.Clear(0)

    def volume(self, name: str) -> Any:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        slicer.util.updateVolumeFromArray(node, np.zeros((3, 4, 5), np.int16))
        return node

    def segmentation(self, volume: Any, *names: str) -> Any:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        for name in names:
            node.GetSegmentation().AddEmptySegment("", name)
        return node

    def dialog(self) -> SceneVolumesDialog:
        return SceneVolumesDialog(list(parse_labels("liver=1,spleen=2")))

    def test_an_empty_scene_says_what_to_do(self) -> None:
        dialog = self.dialog()
        self.assertIn("holds no volume", dialog.ui.noteLabel.text)
        self.assertFalse(dialog.ui.buttonBox.button(qt.QDialogButtonBox.Ok).enabled)

    def test_the_only_volume_is_ticked_with_the_segmentation_that_was_drawn_on_it(self) -> None:
        volume = self.volume("CT")
        drawn = self.segmentation(volume, "Liver", "tumour")
        dialog = self.dialog()
        case = dialog.chosen()[0]
        self.assertEqual((case.volumeNode, case.segmentationNode), (volume, drawn))
        self.assertIn("left out: tumour", dialog.ui.noteLabel.text)

    def test_of_several_volumes_a_person_chooses(self) -> None:
        volumes = [self.volume(name) for name in ("CT 1", "CT 2")]
        drawn = self.segmentation(volumes[0], "tumour")
        dialog = self.dialog()
        self.assertEqual((dialog.chosen(), dialog.ui.noteLabel.text), ([], "Tick the volumes to add."))
        dialog.ui.volumeTable.item(1, 0).setCheckState(qt.Qt.Checked)
        dialog.boxes[1].setCurrentIndex(1)
        case = dialog.chosen()[0]
        self.assertEqual((case.name, case.segmentationNode), ("CT 2", drawn))
        self.assertIn("No segment of 'drawn' is called like an organ", dialog.ui.noteLabel.text)
        dialog.boxes[1].setCurrentIndex(0)
        self.assertIsNone(dialog.chosen()[0].segmentationNode)


class AddFilesTest(CohortCase):
    def test_files_and_folders_are_collected_once_each_and_can_be_taken_back(self) -> None:
        dialog = AddFilesDialog(
            chooseFiles=lambda: ("/scans/a.nii.gz", "/scans/b.nrrd"), chooseFolder=lambda: "/more"
        )
        ok_button = dialog.ui.buttonBox.button(qt.QDialogButtonBox.Ok)
        self.assertFalse(ok_button.enabled)
        for _ in range(2):
            dialog.ui.filesButton.click()
            dialog.ui.folderButton.click()
        paths = [str(Path(path).absolute()) for path in ("/scans/a.nii.gz", "/scans/b.nrrd", "/more")]
        self.assertEqual(dialog.settings(), ImportSettings(paths=paths, copy=True))
        dialog.ui.pathList.item(1).setSelected(True)
        dialog.ui.removeButton.click()
        self.assertEqual(dialog.settings().paths, [paths[0], paths[2]])
        self.assertTrue(ok_button.enabled)

    def test_choosing_nothing_adds_nothing(self) -> None:
        dialog = AddFilesDialog(chooseFiles=tuple, chooseFolder=str)
        dialog.ui.filesButton.click()
        dialog.ui.folderButton.click()
        self.assertEqual(dialog.settings().paths, [])

    def test_label_maps_and_options_are_handed_on(self) -> None:
        dialog = AddFilesDialog()
        dialog.add(["/scans"])
        self.assertFalse(dialog.ui.absentBox.enabled)
        dialog.ui.labelsEdit.currentPath = "/drawn"
        self.assertTrue(dialog.ui.absentBox.enabled)
        dialog.ui.absentBox.setCurrentIndex(1)
        dialog.ui.copyBox.checked = False
        dialog.ui.namesBox.checked = True
        settings = dialog.settings()
        self.assertEqual((settings.labels, settings.absent), ("/drawn", "background"))
        self.assertEqual((settings.copy, settings.keep_names), (False, True))


class Database:
    """A DICOM database of two patients, as ctk offers it; counts how often series are looked up."""

    def __init__(self) -> None:
        self.looks = 0

    def patients(self) -> tuple[str, ...]:
        return "1", "2"

    def nameForPatient(self, patient: str) -> str:
        return {"1": "DOE^JOHN", "2": "ROE^JANE"}[patient]

    def studiesForPatient(self, patient: str) -> tuple[str, ...]:
        self.looks += 1
        return (f"{patient}.1",)

    def seriesForStudy(self, study: str) -> tuple[str, ...]:
        return f"{study}.1", f"{study}.2"

    def filesForSeries(self, series: str) -> tuple[str, ...]:
        return f"/db/{series}/1.dcm", f"/db/{series}/2.dcm"

    def fieldForSeries(self, _field: str, series: str) -> str:
        return "CT" if series.endswith(".1") else "MR"

    def descriptionForSeries(self, series: str) -> str:
        return "" if series.endswith(".2") else "thorax"


class DicomSeriesTest(CohortCase):
    def setUp(self) -> None:
        super().setUp()
        self.database = Database()
        self.dialog = DicomSeriesDialog("CT", self.database)
        self.tree = self.dialog.ui.seriesTree

    def test_series_are_looked_up_when_a_patient_is_opened_and_once(self) -> None:
        self.assertEqual((self.database.looks, self.tree.topLevelItemCount), (0, 2))
        patient = self.tree.topLevelItem(0)
        for _ in range(2):
            self.tree.itemExpanded.emit(patient)
        self.assertEqual((self.database.looks, patient.childCount()), (1, 2))
        self.assertEqual(
            [patient.child(0).text(column) for column in (NAME, MODALITY, FILES)], ["thorax", "CT", "2"]
        )
        self.assertEqual(patient.text(NAME), "DOE, JOHN")

    def test_ticking_a_patient_takes_the_series_that_fit_the_cohort(self) -> None:
        ok_button = self.dialog.ui.buttonBox.button(qt.QDialogButtonBox.Ok)
        self.assertFalse(ok_button.enabled)
        self.tree.topLevelItem(1).setCheckState(NAME, qt.Qt.Checked)
        self.assertEqual(self.dialog.chosen(), [DicomSeries("2.1.1", ["/db/2.1.1/1.dcm", "/db/2.1.1/2.dcm"])])
        self.assertEqual((ok_button.enabled, self.dialog.ui.noteLabel.text), (True, "One series is chosen."))
        self.tree.topLevelItem(1).child(0).setCheckState(NAME, qt.Qt.Unchecked)
        self.assertEqual(self.dialog.chosen(), [])

    def test_patients_are_found_by_name(self) -> None:
        self.dialog.ui.filterEdit.text = "jane"
        hidden = [self.tree.topLevelItem(row).isHidden() for row in range(2)]
        self.assertEqual(hidden, [True, False])

    def test_an_empty_database_says_what_to_do(self) -> None:
        self.database.patients = tuple  # type: ignore[method-assign]
        self.assertIn("database is empty", DicomSeriesDialog("CT", self.database).ui.noteLabel.text)
