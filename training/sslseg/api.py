"""The functions behind the commands, for scripts and notebooks: `import sslseg`.

Each does what the command of the same name does, and raises `SSLSegError` with a sentence where that would print one.
Trainings, predictions and exports run as jobs of the cohort, so that the panel in Slicer and `sslseg status` see them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sslseg.contract.cohort import Cohort, free_name
from sslseg.contract.errors import SSLSegError
from sslseg.contract.events import EventSink
from sslseg.contract.jobs import Job, JobSettings
from sslseg.contract.labels import LabelTable, parse_labels
from sslseg.contract.quality import Ranking, read_ranking
from sslseg.contract.settings import (
    Absent,
    ExportFormat,
    ExportSettings,
    PredictSettings,
    RankSettings,
    TrainSettings,
)

if TYPE_CHECKING:
    from sslseg.data.importing import ImportReport
    from sslseg.evaluate.evaluation import Evaluation
    from sslseg.predict.studies import FolderSummary

Folder = str | Path


def create_cohort(
    folder: Folder,
    *,
    images: Folder,
    organs: str | LabelTable,
    labels: Folder | None = None,
    modality: Literal["CT", "MR"] | None = None,
    keep_names: bool = False,
) -> Cohort:
    """Make a cohort of all volumes below a folder.

    Args:
        folder: of the new cohort.
        images: NIfTI, NRRD, MHA files and folders of DICOM series, at any depth.
        organs: `"liver=1,spleen=2"`, a JSON or CSV file, or a table.
        labels: folder of label maps named like their volumes, for as few of them as there are.
        modality: None guesses it from the intensities.
        keep_names: name cases after their files; only for file names without patients' names.

    Raises:
        SSLSegError: there is a cohort already, or no volume is any good.

    >>> cohort = sslseg.create_cohort(folder / "abdomen", images=scans, labels=drawn, organs="liver=1,spleen=7")
    >>> len(cohort.cases), sum(case.is_annotated for case in cohort.cases)
    (2, 1)
    """
    from sslseg.data.importing import init_from_folder

    return init_from_folder(
        Path(folder),
        images=Path(images),
        labels=None if labels is None else Path(labels),
        labels_table=parse_labels(organs) if isinstance(organs, str) else organs,
        modality=modality,
        keep_names=keep_names,
    ).cohort


def import_volumes(cohort: Folder, paths: Sequence[Folder], *, keep_names: bool = False) -> ImportReport:
    """Add volumes to a cohort; what cannot be imported is listed in the report with its reason.

    Args:
        cohort: folder of the cohort.
        paths: volumes, DICOM folders, and folders to be searched at any depth.
        keep_names: name cases after their files; only for file names without patients' names.

    Raises:
        SSLSegError: there is no cohort.

    >>> report = sslseg.import_volumes(folder / "abdomen", [scans])
    >>> report.imported, report.refused[0][1].endswith("in the cohort already, as case_0001.")
    ([], True)
    """
    from sslseg.data.importing import import_paths

    return import_paths(Path(cohort), [Path(path) for path in paths], keep_names=keep_names)


def train_model(
    cohort: Folder,
    method: str = "mean_teacher",
    *,
    model: str | None = None,
    watcher: EventSink | None = None,
    **settings: Any,
) -> str:
    """Train a model from the annotated and the unlabelled cases of a cohort.

    Args:
        cohort: folder of the cohort.
        method: as `sslseg methods` lists them.
        model: name of the new model; by default the method's, with a number if need be.
        watcher: gets progress, measurements and warnings while it trains.
        settings: the other fields of `TrainSettings`, such as `preset="quick"` or `steps=2000`.

    Returns:
        The name of the model.

    Raises:
        SSLSegError: a setting does not fit, nothing is annotated, or the training failed.

    >>> settings = {"network": "unet", "steps": 2, "patch_size": (16, 16, 16)}
    >>> sslseg.train_model(folder / "abdomen", "supervised", model="first", **settings)
    'first'
    """
    read = Cohort.read(cohort)
    name = model or free_name(method, read.models())
    if name in read.models():
        raise SSLSegError(
            f"There is a model '{name}' already",
            file=read.model_folder(name),
            remedy="Choose another name; models are never overwritten.",
        )
    _run(read, _checked(TrainSettings, method=method, model=name, **settings), watcher)
    return name


def predict_cases(
    cohort: Folder,
    model: str,
    cases: Sequence[str] | None = None,
    *,
    watcher: EventSink | None = None,
    **settings: Any,
) -> list[Path]:
    """Segment cases of a cohort with one of its models.

    Args:
        cohort: folder of the cohort.
        model: name of the model.
        cases: ids; None takes all.
        watcher: gets progress and warnings.
        settings: the other fields of `PredictSettings`, such as `overlap=0.25`.

    Returns:
        The label maps, one per case that could be predicted.

    Raises:
        SSLSegError: the model or a case is unknown, or no case could be predicted.

    >>> [path.name for path in sslseg.predict_cases(folder / "abdomen", "first", ["case_0002"])]
    ['case_0002.nii.gz']
    """
    read = Cohort.read(cohort)
    chosen = None if cases is None else [read.case(case).id for case in cases]
    _run(read, _checked(PredictSettings, model=model, cases=chosen, **settings), watcher)
    paths = [
        read.prediction_path(model, case.id) for case in read.cases if chosen is None or case.id in chosen
    ]
    return [path for path in paths if path.exists()]


def predict_files(
    model: Folder, source: Folder, output: Folder, *, watcher: EventSink | None = None, **settings: Any
) -> FolderSummary:
    """Segment volumes outside any cohort: one, or all below a folder.

    Args:
        model: a model's folder.
        source: a volume, a DICOM folder, or a folder of such things at any depth.
        output: folder for the label maps.
        watcher: gets progress and warnings.
        settings: the other arguments of `predict_folder`, such as `overlap=0.25`.

    Returns:
        What was done, what was done before, and what failed for which reason.

    Raises:
        SSLSegError: the model cannot be read, or there is no volume.

    >>> summary = sslseg.predict_files(folder / "abdomen" / "models" / "first", scans / "a.nii.gz", folder / "out")
    >>> summary.done, summary.failed
    (['a.nii.gz'], [])
    """
    from sslseg.predict.folder_prediction import predict_folder

    return predict_folder(model, source, output, events=watcher, **settings)


def evaluate_label_maps(reference: Folder, prediction: Folder, organs: str | None = None) -> Evaluation:
    """Score label maps against reference label maps of the same file names.

    Args:
        reference: folder of the expert's label maps.
        prediction: folder of the label maps to be scored.
        organs: names of the values, as in `create_cohort`; None takes the values themselves.

    Raises:
        SSLSegError: a folder is empty, or a pair does not fit.

    >>> evaluation = sslseg.evaluate_label_maps(drawn, drawn, "liver=1,spleen=7")
    >>> evaluation.summary().overall.scores["dice"].mean
    1.0
    """
    from sslseg.evaluate.evaluation import evaluate_folders

    values = None if organs is None else {label.name: label.value for label in parse_labels(organs)}
    return evaluate_folders(Path(reference), Path(prediction), values)


def export_segmentations(
    cohort: Folder,
    output: Folder,
    format: ExportFormat = "seg.nrrd",
    *,
    watcher: EventSink | None = None,
    **settings: Any,
) -> Path:
    """Write the segmentations of a cohort for others, and `volumes.csv` with the millilitres of each organ.

    Args:
        cohort: folder of the cohort.
        output: folder for the files.
        format: seg.nrrd, nifti or dicom-seg.
        watcher: gets progress and warnings, one for each case that could not be exported.
        settings: the other fields of `ExportSettings`, such as `model="first", source="best"`.

    Returns:
        The folder.

    Raises:
        SSLSegError: no case could be exported.

    >>> exported = sslseg.export_segmentations(folder / "abdomen", folder / "exported", model="first", source="best")
    >>> sorted(path.name for path in exported.iterdir())
    ['case_0001.seg.nrrd', 'case_0002.seg.nrrd', 'volumes.csv']
    """
    read = Cohort.read(cohort, check_files=False)
    settings |= {"format": format, "output": str(Path(output).resolve())}
    _run(read, _checked(ExportSettings, **settings), watcher)
    return Path(output)


def rank_cases(cohort: Folder, model: str, *, watcher: EventSink | None = None) -> Ranking:
    """Put the cases of a cohort in the order in which they are worth a person's time.

    Args:
        cohort: folder of the cohort.
        model: one of its models; cases that it has not predicted yet are predicted.
        watcher: gets progress and warnings.

    Raises:
        SSLSegError: the model is unknown, or no case could be predicted.

    >>> first = sslseg.rank_cases(folder / "abdomen", "first").cases[0]
    >>> 0 <= first.priority <= 1, first.purpose in ("annotate", "review")
    (True, True)
    """
    read = Cohort.read(cohort)
    _run(read, _checked(RankSettings, model=model), watcher)
    ranking = read_ranking(read, model)
    assert ranking is not None
    return ranking


def annotate_cases(
    cohort: Folder, labels: Mapping[str, Folder], *, absent: Absent = "unknown"
) -> list[tuple[str, str]]:
    """Give cases of a cohort the label maps of files; what they had before is replaced.

    Args:
        cohort: folder of the cohort.
        labels: of each case, a label map on its grid with the cohort's values, or a `.seg.nrrd` file.
        absent: what a declared organ is that does not occur in a label map.

    Returns:
        Each case that was left as it was, and the reason.

    Raises:
        SSLSegError: a case is unknown, or the cohort cannot be written.

    >>> sslseg.annotate_cases(folder / "abdomen", {"case_0001": drawn / "a.nii.gz"})
    []
    """
    from sslseg.data.annotating import annotate

    return annotate(Path(cohort), {case: Path(path) for case, path in labels.items()}, absent=absent)


def _checked(kind: type[Any], **fields: Any) -> Any:
    try:
        return kind(**fields)
    except (TypeError, ValueError) as error:
        raise SSLSegError(str(error)) from error


def _run(cohort: Cohort, settings: JobSettings, watcher: EventSink | None) -> None:
    from sslseg.jobs.finishing import finish_job
    from sslseg.jobs.runner import run_job

    finish_job(Job.create(cohort.folder, settings), lambda job: run_job(job, watcher=watcher))
