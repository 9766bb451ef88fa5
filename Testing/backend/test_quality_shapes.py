"""Size, pieces and place of organs in label maps, and in the annotated cases of a cohort."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from tiny_training import ORGANS, make_cohort

from sslseg.contract.cohort import AnnotatedSlices, Cohort, Use
from sslseg.contract.labels import Label
from sslseg.quality.shapes import NOTHING, annotated_shapes, organ_shapes

ONE, TWO = Label("one", 3, (1, 1, 1)), Label("two", 9, (2, 2, 2))


def an_image(voxels: np.ndarray) -> sitk.Image:
    """2 x 3 x 5 mm voxels that run to the patient's right, at (100, 200, 300) mm."""
    image = sitk.GetImageFromArray(voxels.astype(np.uint8))
    image.SetSpacing((2.0, 3.0, 5.0))
    image.SetOrigin((100.0, 200.0, 300.0))
    image.SetDirection((-1, 0, 0, 0, 1, 0, 0, 0, 1))
    return image


def test_an_organ_is_measured_in_millilitres_pieces_and_patient_coordinates() -> None:
    voxels = np.zeros((8, 9, 10))
    voxels[2:4, 2:5, 2:6] = 3
    voxels[5, 6, 7] = 3
    shape = organ_shapes(an_image(voxels), [ONE])["one"]
    assert shape.volume_ml == pytest.approx(25 * 0.03)
    assert (shape.components, shape.largest_share, shape.touches_edge) == (2, 0.96, False)
    k, j, i = (np.mean(axis) for axis in np.nonzero(voxels))
    assert shape.centre == pytest.approx((100 - 2 * i, 200 + 3 * j, 300 + 5 * k), abs=0.01)


def test_voxels_that_touch_at_a_corner_are_one_piece() -> None:
    voxels = np.zeros((5, 5, 5))
    voxels[1, 1, 1] = voxels[2, 2, 2] = 3
    assert organ_shapes(an_image(voxels), [ONE])["one"].components == 1


@pytest.mark.parametrize("place", [(0, 2, 2), (4, 2, 2), (2, 0, 2), (2, 4, 2), (2, 2, 0), (2, 2, 4)])
def test_each_side_of_the_volume_is_an_edge(place: tuple[int, int, int]) -> None:
    voxels = np.zeros((5, 5, 5))
    voxels[place] = 3
    assert organ_shapes(an_image(voxels), [ONE])["one"].touches_edge
    assert not organ_shapes(an_image(np.pad(voxels, 1)), [ONE])["one"].touches_edge


def test_an_organ_that_is_not_there_has_no_shape() -> None:
    voxels = np.zeros((4, 4, 4))
    voxels[1, 1, 1] = 3
    assert organ_shapes(an_image(voxels), [ONE, TWO])["two"] == NOTHING


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    return make_cohort(tmp_path / "cohort", annotated=3, unlabelled=1)


def test_only_what_a_person_annotated_as_a_whole_counts(cohort: Cohort) -> None:
    with Cohort.edit(cohort.folder) as edited:
        edited.case("case_0").annotated = ["liver"]
        edited.case("case_1").slices = {"spleen": AnnotatedSlices("k", [5])}
        edited.case("case_2").use = Use.TEST
    shapes = annotated_shapes(Cohort.read(cohort.folder))
    assert [sorted(case) for case in shapes] == [["liver"], ["liver"]]
    drawn = sitk.GetArrayFromImage(sitk.ReadImage(str(cohort.folder / "labels" / "case_0.nii.gz")))
    assert shapes[0]["liver"].volume_ml == pytest.approx((drawn == 1).sum() * 0.064)


def test_what_was_measured_is_remembered_until_the_annotation_changes(cohort: Cohort) -> None:
    before = annotated_shapes(cohort)
    kept = sorted((cohort.cache_folder / "shapes").iterdir())
    assert len(kept) == 3 and annotated_shapes(cohort) == before
    assert sorted((cohort.cache_folder / "shapes").iterdir()) == kept
    path = cohort.folder / "labels" / "case_0.nii.gz"
    sitk.WriteImage(sitk.ReadImage(str(path)) * 0, str(path))
    assert annotated_shapes(cohort)[0] == dict.fromkeys(ORGANS.names, NOTHING)


def test_a_label_map_that_cannot_be_read_shows_nothing(cohort: Cohort) -> None:
    (cohort.folder / "labels" / "case_1.nii.gz").write_bytes(b"no label map")
    assert [len(case) for case in annotated_shapes(cohort)] == [2, 0, 2]
