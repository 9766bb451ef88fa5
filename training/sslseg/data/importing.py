"""How volumes come into a cohort: each is read once, checked whole, and refused with a sentence if it is bad.

Images stay where they are unless a copy is asked for. Label maps are always copied: people go on drawing on
those of the cohort, and the originals are not ours to change.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import SimpleITK as sitk

from sslseg.contract.case_ids import NewIds
from sslseg.contract.cohort import FILE_NAME, Case, Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import IGNORE, LabelTable
from sslseg.contract.settings import Absent, DicomSeries
from sslseg.data.cache import in_parallel
from sslseg.data.dataset_folder import Candidate, Modality, find_candidates, read_dataset
from sslseg.data.geometry import Geometry
from sslseg.data.segmentation_file import (
    Segmentation,
    organs_of,
    read_segmentation,
    segmentation_to_label_map,
    write_layers,
)
from sslseg.data.thumbnails import make_thumbnail, write_thumbnail
from sslseg.data.volume_checks import label_values
from sslseg.data.volumes import (
    SEGMENTATION_SUFFIX,
    read_label_map,
    read_volume,
    write_label_map,
    write_volume,
)

Progress = Callable[[int, int], None]

CT_BELOW = -500.0
"""Intensities that reach down here are HU: air is -1000, and MR has hardly any negative values."""


@dataclass(frozen=True)
class ImportReport:
    """What an import did.

    Attributes:
        cohort: as it is now.
        imported: ids of the new cases.
        refused: each file that was not imported and the sentence that says why.
        notes: sentences on what was assumed or left out.
    """

    cohort: Cohort
    imported: list[str]
    refused: list[tuple[Path, str]]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Options:
    labels: LabelTable
    ignore_value: int | None
    absent: Absent
    copy: bool
    series: str | None


@dataclass(frozen=True)
class _Checked:
    """A candidate that is good; its files wait in the staging folder."""

    candidate: Candidate
    thumbnail: Path
    series: str | None
    digest: str
    lowest: float
    image: Path | None
    label: Path | None
    layers: Path | None
    annotated: list[str]
    empty_label: bool


def init_from_folder(
    cohort_folder: Path,
    *,
    images: Path,
    labels: Path | None,
    labels_table: LabelTable,
    modality: Modality | None = None,
    copy: bool = False,
    keep_names: bool = False,
    absent: Absent = "unknown",
    name: str | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Make a cohort of all volumes below `images`.

    Args:
        cohort_folder: must not hold a cohort yet.
        images: folder of volumes and DICOM series, at any depth.
        labels: folder of label maps, paired as `find_candidates` says.
        labels_table: the organs.
        modality: None guesses it from the intensities and says so in the notes.
        copy: copy the volumes into the cohort, without the texts of their headers.
        keep_names: use file names as case ids; they may hold patients' names.
        absent: what an organ is that does not occur in a label map.
        name: of the cohort; None takes that of its folder.
        progress: is told volumes done and volumes in all.

    Raises:
        SSLSegError: there is a cohort already, a label map has no image, or no volume is any good.
    """
    candidates, strays = find_candidates([images], labels, outside=cohort_folder)
    if strays:
        raise SSLSegError(
            f"{len(strays)} label map(s) have no image of the same name",
            file=strays[0],
            remedy=f"Add the image to {images}, or remove the label map.",
        )
    if not candidates:
        raise SSLSegError("The folder holds no volume", file=images, remedy="Check the path.")
    options = _Options(labels_table, None, absent, copy, None)
    return _create(
        cohort_folder, candidates, options, modality, name, keep_names, "imported from a folder", progress
    )


def init_from_dataset(
    cohort_folder: Path,
    dataset: Path,
    *,
    labelled: int | None = None,
    validation: int = 0,
    modality: Modality | None = None,
    copy: bool = False,
    absent: Absent = "unknown",
    name: str | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Make a cohort of a data set: the first `labelled` training cases with labels, the others without.

    Test cases keep their label maps and the use `test`: they serve evaluation alone. Cases keep their names.

    Args:
        dataset: folder with `dataset.json`, in one of the layouts of `dataset_folder`.
        labelled: None keeps the label maps of all training cases.
        validation: so many cases from the end of the training list are kept to measure on while training.

    Raises:
        SSLSegError: see `read_dataset` and `init_from_folder`.
    """
    found = read_dataset(dataset, labelled, validation)
    options = _Options(found.labels, found.ignore_value, absent, copy, None)
    source = f"data set {found.name}"
    return _create(
        cohort_folder, found.cases, options, modality or found.modality, name, True, source, progress
    )


def import_paths(
    cohort_folder: Path,
    paths: Sequence[Path],
    *,
    labels: Path | None = None,
    series: str | None = None,
    dicom: Sequence[DicomSeries] = (),
    copy: bool = False,
    keep_names: bool = False,
    absent: Absent = "unknown",
    progress: Progress | None = None,
) -> ImportReport:
    """Add volumes to a cohort: the good ones are imported, the others listed with the reason.

    Args:
        paths: volumes, DICOM folders, and folders to be searched at any depth.
        labels: folder of label maps; `.seg.nrrd` files among `paths` are found without it.
        series: UID of the DICOM series to take from a folder that holds several.
        dicom: series of a DICOM database; they are always copied.
        copy: copy the volumes of `paths` into the cohort, without the texts of their headers.
        progress: is told volumes done and volumes in all; what it raises ends the import, and nothing is imported.

    Raises:
        SSLSegError: there is no cohort, or two label maps claim one image.
    """
    cohort = Cohort.read(cohort_folder, check_files=False)
    options = _Options(cohort.labels, None, absent, copy, series)
    candidates, strays = find_candidates(paths, labels, outside=cohort_folder)
    candidates += [_of_database(entry) for entry in dicom]
    refused = [(p, str(SSLSegError("No image of the same name is imported with it", file=p))) for p in strays]
    with _staging(cohort_folder) as staging:
        checked, bad = _check_all(candidates, options, staging, progress)
        return _add(cohort_folder, checked, refused + bad, [], keep_names, "imported from a folder")


def _of_database(series: DicomSeries) -> Candidate:
    files = tuple(Path(file) for file in series.files)
    if not files:
        raise SSLSegError("A series of the DICOM database has no files", remedy="Import it again in Slicer.")
    return Candidate("", files[0].parent, series=series.uid, files=files)


def _create(
    folder: Path,
    candidates: list[Candidate],
    options: _Options,
    modality: Modality | None,
    name: str | None,
    keep_names: bool,
    source: str,
    progress: Progress | None,
) -> ImportReport:
    if (folder / FILE_NAME).exists():
        raise SSLSegError(
            "There is a cohort here already",
            file=folder / FILE_NAME,
            remedy="Choose another folder, or add to this one with 'sslseg import'.",
        )
    with _staging(folder) as staging:
        checked, refused = _check_all(candidates, options, staging, progress)
        if not checked:
            raise SSLSegError(f"None of the {len(refused)} volumes can be imported. {refused[0][1]}")
        notes = []
        if modality is None:
            modality, note = _guessed_modality(checked)
            notes.append(note)
        Cohort.create(folder, name=name or folder.resolve().name, modality=modality, labels=options.labels)
        return _add(folder, checked, refused, notes, keep_names, source)


@contextlib.contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """A folder on the cohort's own disk for files whose case has no id yet; gone afterwards."""
    cache = folder / "cache"
    new = [path for path in (folder, cache) if not path.exists()]
    try:
        cache.mkdir(parents=True, exist_ok=True)
        staging = tempfile.TemporaryDirectory(prefix=".importing-", dir=cache)
    except OSError as error:
        raise SSLSegError(
            f"The folder cannot be written to ({error.strerror})",
            file=folder,
            remedy="Choose another folder.",
        ) from error
    try:
        with staging as name:
            yield Path(name)
    finally:
        for path in reversed(new):
            with contextlib.suppress(OSError):
                path.rmdir()


def _check_all(
    candidates: list[Candidate], options: _Options, staging: Path, progress: Progress | None
) -> tuple[list[_Checked], list[tuple[Path, str]]]:
    def check(numbered: tuple[int, Candidate]) -> _Checked | tuple[Path, str]:
        number, candidate = numbered
        try:
            return _check(candidate, options, staging / str(number))
        except SSLSegError as error:
            return error.file or candidate.image, str(error)

    results = in_parallel(check, list(enumerate(candidates)), progress)
    checked = [result for result in results if isinstance(result, _Checked)]
    return checked, [result for result in results if not isinstance(result, _Checked)]


def _check(candidate: Candidate, options: _Options, staged: Path) -> _Checked:
    """Read a candidate wholly; its label map, and its image if it is to be copied, go to the staging folder.

    Raises:
        SSLSegError: the image or the label map is no good.
    """
    series = candidate.series or (options.series if candidate.image.is_dir() else None)
    image = read_volume(candidate.image, series_uid=series, files=candidate.files)
    copy = options.copy or candidate.files is not None
    voxels = sitk.GetArrayViewFromImage(image)
    digest = hashlib.sha256(f"{voxels.dtype} {voxels.shape}".encode())
    for plane in voxels:
        digest.update(plane.tobytes())
    annotated: list[str] = []
    label = label_path = image_path = layers_path = None
    if candidate.label is not None:
        label, layers = read_case_label(candidate.label, image, options.labels, options.ignore_value)
        present = label_values(label)
        whole = options.absent == "background"
        annotated = [organ.name for organ in options.labels if whole or organ.value in present]
        if annotated:
            label_path = staged / "label.nii.gz"
            write_label_map(label, label_path)
            if layers is not None:
                layers_path = staged / f"layers{SEGMENTATION_SUFFIX}"
                write_layers(layers, layers_path)
    thumbnail = staged / "thumbnail.png"
    write_thumbnail(make_thumbnail(image, label, options.labels), thumbnail)
    if copy:
        for key in image.GetMetaDataKeys():
            image.EraseMetaData(key)
        image_path = staged / "image.nrrd"
        write_volume(image, image_path)
    return _Checked(
        candidate,
        thumbnail,
        None if copy else series,
        digest.hexdigest(),
        float(voxels.min()),
        image_path,
        label_path,
        layers_path,
        annotated,
        empty_label=candidate.label is not None and not annotated,
    )


def read_case_label(
    path: Path, image: sitk.Image, labels: LabelTable, ignore: int | None = None
) -> tuple[sitk.Image, Segmentation | None]:
    """The label map of an image and, where organs overlap in the file, the organs whole.

    Args:
        path: a label map on the grid of the image, or a `.seg.nrrd` file.
        image: what was drawn on.
        labels: the declared organs.
        ignore: value of voxels that nobody annotated, beside 255.

    Raises:
        SSLSegError: the file is damaged, on another grid, or holds undeclared values.
    """
    if path.name.lower().endswith(SEGMENTATION_SUFFIX):
        values = {label.name: label.value for label in labels}
        segmentation = read_segmentation(path)
        label = segmentation_to_label_map(segmentation, values, reference=Geometry.of(image))
        if len(segmentation.layers) == 1:
            return label, None
        organs = organs_of(segmentation, labels, Geometry.of(image))
        return label, organs if len(organs.layers) > 1 else None
    allowed = [*labels.values, *([] if ignore is None else [ignore])]
    label = read_label_map(path, allowed=allowed, reference=image)
    if ignore is not None:
        label = sitk.ChangeLabel(label, {ignore: IGNORE})
    return label, None


def _guessed_modality(checked: list[_Checked]) -> tuple[Modality, str]:
    lowest = sorted(one.lowest for one in checked)
    middle = lowest[len(lowest) // 2]
    modality: Modality = "CT" if middle <= CT_BELOW else "MR"
    return modality, (
        f"Taken as {modality}, since the intensities begin at about {middle:g}; "
        "name the modality if that is wrong."
    )


def _add(
    folder: Path,
    checked: list[_Checked],
    refused: list[tuple[Path, str]],
    notes: list[str],
    keep_names: bool,
    source: str,
) -> ImportReport:
    imported: list[str] = []
    with _undone_on_failure() as moved, Cohort.edit(folder) as cohort:
        known = {case.provenance["sha256"]: case.id for case in cohort.cases if "sha256" in case.provenance}
        ids = NewIds(cohort)
        for one in checked:
            if one.digest in known:
                twin = SSLSegError(
                    f"The same voxels are in the cohort already, as {known[one.digest]}",
                    file=one.candidate.image,
                )
                refused = [*refused, (one.candidate.image, str(twin))]
                continue
            name = one.candidate.name if keep_names else None
            case = _new_case(cohort, ids.next(name, one.candidate.image), one, source, moved)
            known[one.digest] = case.id
            imported.append(case.id)
            cohort.cases.append(case)
            if one.empty_label:
                notes = [*notes, f"{case.id}: its label map holds no organ, so it counts as not annotated."]
    return ImportReport(Cohort.read(folder, check_files=False), imported, refused, notes)


@contextlib.contextmanager
def _undone_on_failure() -> Iterator[list[Path]]:
    """Files that are put into the list are removed again when the block fails: no case would know of them."""
    moved: list[Path] = []
    try:
        yield moved
    except BaseException:
        for path in moved:
            path.unlink(missing_ok=True)
        raise


def _new_case(cohort: Cohort, case_id: str, one: _Checked, source: str, moved: list[Path]) -> Case:
    """The case of a checked candidate, its files moved from the staging folder to their places."""
    image = _stored_path(one.candidate.image, cohort.folder)
    label = layers = None
    _move(one.thumbnail, cohort.thumbnail_path(case_id), moved)
    if one.image is not None:
        image = f"images/{case_id}.nrrd"
        _move(one.image, cohort.folder / image, moved)
    if one.label is not None:
        label = f"labels/{case_id}.nii.gz"
        _move(one.label, cohort.folder / label, moved)
    if one.layers is not None:
        layers = f"labels/{case_id}.layers{SEGMENTATION_SUFFIX}"
        _move(one.layers, cohort.folder / layers, moved)
    return Case(
        case_id,
        image,
        label,
        one.annotated,
        use=one.candidate.use,
        series=one.series,
        layers=layers,
        provenance={"source": source, "sha256": one.digest},
    )


def _move(staged: Path, place: Path, moved: list[Path]) -> None:
    try:
        place.parent.mkdir(exist_ok=True)
        staged.replace(place)
        moved.append(place)
    except OSError as error:
        raise SSLSegError(
            f"The file cannot be written ({error.strerror})",
            file=place,
            remedy="Check the folder's permissions.",
        ) from error


def _stored_path(image: Path, folder: Path) -> str:
    """Relative where the file lies in the cohort folder, so that the folder can be moved; else absolute."""
    absolute = image.absolute()
    with contextlib.suppress(ValueError):
        return absolute.resolve().relative_to(folder.resolve()).as_posix()
    return absolute.as_posix()
