"""What a person may choose for a training or a prediction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from sslseg.contract.cohort import check_name

Precision = Literal["auto", "float32", "bfloat16"]
PRESETS = ("quick", "standard", "thorough")
Preset = Literal["quick", "standard", "thorough"]
ExportFormat = Literal["seg.nrrd", "nifti", "dicom-seg"]
PredictionFormat = Literal["nifti", "seg.nrrd"]
ExportSource = Literal["accepted", "best"]
Absent = Literal["unknown", "background"]
"""What a declared organ is that a label map does not hold: nobody contoured it, or it is not there."""


@dataclass(frozen=True)
class TrainSettings:
    """One training run. None means: take what the preset and the plan say.

    Attributes:
        method: name of the method, as `sslseg methods` lists them.
        model: name of the model to be made.
        preset: quick, standard or thorough.
        steps: optimiser steps.
        network: name of the network.
        device: auto, cpu, cuda, cuda:1, mps.
        seed: every random number follows from it.
        precision: arithmetic of the convolutions; auto takes bfloat16 where the device gains from it.
        learning_rate: initial learning rate.
        labelled_batch: labelled patches in a step.
        unlabelled_batch: unlabelled patches in a step.
        patch_size: voxels of a training patch (z, y, x).
        validation_cases: annotated cases held back to measure; 0 trains on all of them.
        leave_one_out: with no case held back, first train once without each annotated case and measure on it; the
            model itself is then trained on all of them. Takes that many times as long.
        validation_every: steps between two validations.
        start_from: model of the cohort whose weights the networks start with; None draws them anew.
        method_settings: settings of the method by name.
    """

    method: str
    model: str
    preset: Preset = "standard"
    steps: int | None = None
    network: str | None = None
    device: str = "auto"
    seed: int = 0
    precision: Precision = "auto"
    learning_rate: float | None = None
    labelled_batch: int | None = None
    unlabelled_batch: int | None = None
    patch_size: tuple[int, int, int] | None = None
    validation_cases: int | None = None
    leave_one_out: bool = False
    validation_every: int | None = None
    start_from: str | None = None
    method_settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.model, "model name")
        if self.start_from is not None:
            check_name(self.start_from, "model name")
        for name in ("steps", "labelled_batch", "unlabelled_batch", "validation_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if self.leave_one_out and self.start_from is not None:
            raise ValueError(
                "leave_one_out needs freshly drawn weights: those of a model have learned from the cases left out"
            )
        if self.patch_size is not None and min(self.patch_size) < 8:
            raise ValueError("patch_size must be at least 8 voxels along each axis")


@dataclass(frozen=True)
class PredictSettings:
    """One prediction run.

    Attributes:
        model: name of a model of the cohort.
        cases: ids of the cases; None takes all.
        overlap: share by which neighbouring windows overlap, 0 to 0.9.
        device: auto, cpu, cuda, cuda:1, mps.
        precision: arithmetic of the convolutions.
        skip_existing: leave cases alone whose prediction by this model is there.
        postprocess: clean label maps up as the model's rules say; without, every voxel has its most probable organ.
        mirror: look at every window mirrored from left to right as well: a second opinion, in twice the time.
    """

    model: str
    cases: list[str] | None = None
    overlap: float = 0.5
    device: str = "auto"
    precision: Precision = "auto"
    skip_existing: bool = False
    postprocess: bool = True
    mirror: bool = False

    def __post_init__(self) -> None:
        check_name(self.model, "model name")
        if not 0 <= self.overlap <= 0.9:
            raise ValueError(f"overlap must lie between 0 and 0.9, not {self.overlap}")


@dataclass(frozen=True)
class RankSettings:
    """One ranking of the cases that are worth a person's time.

    Attributes:
        model: name of a model of the cohort; cases that it has not predicted yet are predicted.
        device: auto, cpu, cuda, cuda:1, mps.
        precision: arithmetic of the convolutions.
        mirror: for cases that are predicted, as in `PredictSettings`.
    """

    model: str
    device: str = "auto"
    precision: Precision = "auto"
    mirror: bool = False

    def __post_init__(self) -> None:
        check_name(self.model, "model name")


@dataclass(frozen=True)
class ExportSettings:
    """One export of segmentations.

    Attributes:
        format: seg.nrrd (Slicer), nifti (label maps with a table of colours), dicom-seg.
        output: folder for the files; a relative path starts at the cohort folder.
        model: name of the model whose predictions are exported where `source` is best, with the verdicts of its
            quality cards.
        cases: ids of the cases; None takes all.
        source: accepted takes only what a person drew or accepted; best takes, organ by organ, that where it
            is there and the prediction of `model` elsewhere.
        overwrite: replace files that are there already, instead of refusing these cases.
    """

    format: ExportFormat
    output: str
    model: str | None = None
    cases: list[str] | None = None
    source: ExportSource = "accepted"
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.model is not None:
            check_name(self.model, "model name")
        if not self.output.strip():
            raise ValueError("output must name a folder")
        if self.source == "best" and self.model is None:
            raise ValueError("the source 'best' needs a model")


@dataclass(frozen=True)
class ModelExportSettings:
    """One export of a model as a MONAI bundle.

    Attributes:
        model: name of a model of the cohort.
        output: folder that becomes the bundle, not there yet or empty; a relative path starts at the cohort folder.
    """

    model: str
    output: str

    def __post_init__(self) -> None:
        check_name(self.model, "model name")
        if not self.output.strip():
            raise ValueError("output must name a folder")


@dataclass(frozen=True)
class DicomSeries:
    """One series of a DICOM database, whose files may lie anywhere.

    Attributes:
        uid: series instance UID.
        files: paths of its files.
    """

    uid: str
    files: list[str]


@dataclass(frozen=True)
class ImportSettings:
    """Volumes to be added to a cohort.

    Attributes:
        paths: volumes, DICOM folders, and folders to be searched at any depth; absolute.
        series: series of a DICOM database; they are always copied, since the database may be emptied.
        labels: folder of label maps named like their volumes; `.seg.nrrd` files among `paths` are found without it.
        copy: copy the volumes into the cohort instead of referring to them.
        keep_names: name cases after their files; only for file names without patients' names.
        absent: what an organ is that does not occur in a label map.
    """

    paths: list[str] = field(default_factory=list)
    series: list[DicomSeries] = field(default_factory=list)
    labels: str | None = None
    copy: bool = False
    keep_names: bool = False
    absent: Absent = "unknown"
