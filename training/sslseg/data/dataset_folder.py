"""What a folder offers: volumes with the label maps that belong to them, or a published data set.

Nothing is read here but names and `dataset.json`; `importing` looks into the files.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from sslseg.contract.cohort import Use
from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import read_json
from sslseg.contract.labels import IGNORE, LabelTable, normalised_name, read_labels
from sslseg.data.volumes import SEGMENTATION_SUFFIX, find_volumes, volume_stem

Modality = Literal["CT", "MR"]

LABEL_SUFFIXES = ("-label", "_label", "-seg", "_seg")
"""What the name of a label map may have after the name of its image: Slicer's and other tools' habits."""
CHANNEL_SUFFIX = "_0000"
"""nnU-Net's mark of the first channel on an image; its label map does not have it."""

_LAYOUTS = (
    "Known are: dataset.json with images/, labels/, train.txt and test.txt; the Medical Segmentation "
    "Decathlon; nnU-Net raw data (imagesTr, labelsTr)."
)


@dataclass(frozen=True)
class Candidate:
    """A volume that may become a case.

    Attributes:
        name: what its source calls it.
        image: file, or folder of a DICOM series.
        label: its label map or .seg.nrrd, or None.
        use: training, validation or test.
        series: DICOM series instance UID, where it is known.
        files: the files of a DICOM series that need not all lie in the folder `image`.
    """

    name: str
    image: Path
    label: Path | None = None
    use: Use = Use.TRAIN
    series: str | None = None
    files: tuple[Path, ...] | None = None


@dataclass(frozen=True)
class Dataset:
    """A published data set.

    Attributes:
        name: as it calls itself.
        modality: None where it does not say.
        labels: the organs.
        ignore_value: value of voxels that were not annotated (nnU-Net's label `ignore`), or None.
        cases: training cases in the order of its list, then test cases.
    """

    name: str
    modality: Modality | None
    labels: LabelTable
    ignore_value: int | None
    cases: list[Candidate]


def find_candidates(
    paths: Sequence[Path], labels: Path | None, *, outside: Path
) -> tuple[list[Candidate], list[Path]]:
    """Volumes in `paths` at any depth, each with its label map.

    A label map belongs to the image of the same name, at the same place below its folder where names repeat.
    It may be called `name`, `name-label`, `name_label`, `name-seg` or `name_seg`, and the image `name_0000`.
    Label maps are looked for in `labels`; among the images, `.seg.nrrd` files and `name-label` beside `name`
    count as label maps too.

    Args:
        paths: volumes, and folders to be searched.
        labels: folder of the label maps. It may be one of `paths` or lie in it.
        outside: a cohort folder, whose own label maps and predictions are no volumes to import.

    Returns:
        The candidates, sorted by path, and the label maps that belong to no image.
    """
    if labels is not None and any(path.resolve() == labels.resolve() for path in paths):
        labels = None
    images: dict[Path, Path] = {}
    label_maps: dict[Path, Path] = {}
    for root in paths:
        base = root if root.is_dir() else root.parent
        for path in _volumes(root):
            own = _is_within(path, outside) and not _is_within(path, outside / "images")
            if (own and path != root) or (labels is not None and _is_within(path, labels)):
                continue
            name = _relative_name(path, base)
            if path.name.lower().endswith(SEGMENTATION_SUFFIX):
                label_maps[path] = name
            else:
                images[path] = name.with_name(name.name.removesuffix(CHANNEL_SUFFIX))
    places = set(images.values())
    for path, name in list(images.items()):
        bare = name.with_name(_without_suffix(name.name))
        if bare != name and bare in places:
            label_maps[path] = images.pop(path)
    if labels is not None:
        label_maps |= {path: _relative_name(path, labels) for path in _volumes(labels)}
    return _paired(images, label_maps)


def read_dataset(path: Path, labelled: int | None, validation: int = 0) -> Dataset:
    """The cases of a data set folder (or of its `dataset.json`).

    The first `labelled` cases of its training list keep their label maps; the rest of the list is unlabelled, but
    for the last `validation` cases, which are measured on and never trained on. Test cases keep their label maps.

    Args:
        path: the folder, or its `dataset.json`.
        labelled: how many; None for all.
        validation: how many.

    Raises:
        SSLSegError: an unknown layout, several channels, a missing file, too few training cases.
    """
    folder = path.parent if path.name == "dataset.json" else path
    file = folder / "dataset.json"
    if not folder.is_dir():
        raise SSLSegError("The data set does not exist", file=folder, remedy="Check the path.")
    description = read_json(file, remedy=_LAYOUTS)
    if not isinstance(description, dict):
        raise SSLSegError("The file describes no data set", file=file, remedy=_LAYOUTS)
    modality = _modality(description, file)
    if "training" in description:
        train, test = _decathlon_lists(folder, description, file)
    elif (folder / "train.txt").is_file():
        train, test = _listed(folder, "train.txt", Use.TRAIN), _listed(folder, "test.txt", Use.TEST)
    elif (folder / "imagesTr").is_dir():
        ending = str(description.get("file_ending", ".nii.gz"))
        train, test = _nnunet(folder, "Tr", ending, Use.TRAIN), _nnunet(folder, "Ts", ending, Use.TEST)
    else:
        raise SSLSegError("The layout of the data set is unknown", file=folder, remedy=_LAYOUTS)
    train, held_back = _split(train, validation, file)
    cases = [*_hide_labels(train, labelled, file), *held_back, *test]
    missing = [p for c in cases for p in (c.image, c.label) if p is not None and not p.exists()]
    if missing:
        raise SSLSegError(
            f"The data set names {len(missing)} file(s) that are missing",
            file=missing[0],
            remedy="Copy it again.",
        )
    labels, ignore_value = _without_ignore(read_labels(file), file)
    return Dataset(str(description.get("name") or folder.name), modality, labels, ignore_value, cases)


def _volumes(root: Path) -> list[Path]:
    if not root.is_dir():
        return [root]
    segmentations = [p for p in root.rglob(f"*{SEGMENTATION_SUFFIX}") if not p.name.startswith(".")]
    return sorted([*find_volumes(root), *segmentations])


def _is_within(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _relative_name(path: Path, base: Path) -> Path:
    if path == base:
        return Path(path.resolve().name)
    return path.parent.relative_to(base) / volume_stem(path)


def _without_suffix(name: str) -> str:
    return next((name.removesuffix(s) for s in LABEL_SUFFIXES if name.endswith(s)), name)


def _paired(images: dict[Path, Path], label_maps: dict[Path, Path]) -> tuple[list[Candidate], list[Path]]:
    by_place = {name: path for path, name in images.items()}
    repeated = Counter(name.name for name in images.values())
    by_name = {name.name: path for path, name in images.items() if repeated[name.name] == 1}
    found: dict[Path, Path] = {}
    strays = []
    for label, place in label_maps.items():
        names = (place, place.with_name(_without_suffix(place.name)))
        image = next((by_place[n] for n in names if n in by_place), None)
        image = image or next((by_name[n.name] for n in names if n.name in by_name), None)
        if image is None:
            strays.append(label)
        elif image in found:
            raise SSLSegError(
                f"The image {image.name} has two label maps, {found[image].name} and {label.name}",
                file=label,
                remedy="Keep one of them.",
            )
        else:
            found[image] = label
    candidates = [Candidate(images[path].name, path, found.get(path)) for path in sorted(images)]
    return candidates, sorted(strays)


def _modality(description: dict[str, Any], file: Path) -> Modality | None:
    """CT or MR where the data set says so; its words differ: `CT (HU)`, `MRI T1`, `{"0": "CT"}`."""
    channels = description.get("channel_names", description.get("modality", ""))
    if isinstance(channels, dict):
        if len(channels) != 1:
            raise SSLSegError(
                f"The data set has {len(channels)} channels ({', '.join(map(str, channels.values()))}), "
                "and this program segments volumes of one",
                file=file,
                remedy="Make a data set of one channel.",
            )
        channels = next(iter(channels.values()))
    words = re.split(r"[^A-Z0-9]+", str(channels).upper())
    if "CT" in words:
        return "CT"
    return "MR" if {"MR", "MRI"} & set(words) else None


def _decathlon_lists(
    folder: Path, description: dict[str, Any], file: Path
) -> tuple[list[Candidate], list[Candidate]]:
    def candidate(entry: Any, use: Use) -> Candidate:
        pair = {"image": entry} if isinstance(entry, str) else entry
        if not isinstance(pair, dict) or not isinstance(pair.get("image"), str):
            raise SSLSegError(f"The entry {entry!r} names no image", file=file, remedy=_LAYOUTS)
        label = pair.get("label")
        image = folder / pair["image"]
        return Candidate(volume_stem(image), image, None if label is None else folder / label, use)

    train, test = description["training"], description.get("test", [])
    if not isinstance(train, list) or not isinstance(test, list):
        raise SSLSegError("'training' and 'test' must be lists of cases", file=file, remedy=_LAYOUTS)
    return [candidate(e, Use.TRAIN) for e in train], [candidate(e, Use.TEST) for e in test]


def _listed(folder: Path, list_name: str, use: Use) -> list[Candidate]:
    file = folder / list_name
    if not file.is_file():
        return []
    names = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    candidates = []
    for name in names:
        label = folder / "labels" / f"{name}.nii.gz"
        image = folder / "images" / f"{name}.nii.gz"
        candidates.append(Candidate(name, image, label if label.exists() else None, use))
    return candidates


def _nnunet(folder: Path, part: str, ending: str, use: Use) -> list[Candidate]:
    candidates = []
    for image in sorted((folder / f"images{part}").glob(f"*{CHANNEL_SUFFIX}{ending}")):
        name = image.name.removesuffix(CHANNEL_SUFFIX + ending)
        label = folder / f"labels{part}" / f"{name}{ending}"
        candidates.append(Candidate(name, image, label if label.exists() else None, use))
    return candidates


def _split(train: list[Candidate], validation: int, file: Path) -> tuple[list[Candidate], list[Candidate]]:
    """The training list without its last `validation` cases, and those."""
    if validation >= len(train) > 0:
        raise SSLSegError(
            f"{validation} validation cases were asked for, and the data set has {len(train)} training cases",
            file=file,
            remedy="Ask for fewer.",
        )
    kept, held_back = train[: len(train) - validation], train[len(train) - validation :]
    without = [case.name for case in held_back if case.label is None]
    if without:
        raise SSLSegError(
            f"The validation case '{without[0]}' has no label map", file=file, remedy="Ask for fewer."
        )
    return kept, [replace(case, use=Use.VALIDATION) for case in held_back]


def _hide_labels(train: list[Candidate], labelled: int | None, file: Path) -> list[Candidate]:
    if not train:
        raise SSLSegError("The data set has no training case", file=file, remedy=_LAYOUTS)
    if labelled is None:
        return train
    if not 1 <= labelled <= len(train):
        raise SSLSegError(
            f"{labelled} labelled cases were asked for, and the data set has {len(train)} training cases",
            file=file,
            remedy=f"Ask for 1 to {len(train)}.",
        )
    without = [case.name for case in train[:labelled] if case.label is None]
    if without:
        raise SSLSegError(
            f"Among the first {labelled} training cases, '{without[0]}' has no label map",
            file=file,
            remedy="Add it, or move the case down in the list.",
        )
    return train[:labelled] + [Candidate(c.name, c.image, None, c.use) for c in train[labelled:]]


def _without_ignore(labels: LabelTable, file: Path) -> tuple[LabelTable, int | None]:
    organs = [label for label in labels if normalised_name(label.name) != "ignore"]
    ignored = [label.value for label in labels if normalised_name(label.name) == "ignore"]
    value = ignored[0] if ignored and ignored[0] != IGNORE else None
    return LabelTable(organs, file=file), value
