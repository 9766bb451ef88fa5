"""`sslseg predict` for volumes outside any cohort."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sslseg.bundle.model_folder import load_model
from sslseg.contract.errors import SSLSegError
from sslseg.contract.events import EventSink
from sslseg.contract.formats import SEGMENTATION_SUFFIX
from sslseg.contract.labels import Label
from sslseg.contract.settings import Precision, PredictionFormat
from sslseg.data.volumes import find_volumes, is_volume_path, volume_stem
from sslseg.inference.predictor import VolumePredictor
from sslseg.networks.devices import resolve_device
from sslseg.predict.ledger import Ledger, model_digest
from sslseg.predict.pipeline import Cancel, Scan, has_files, predict_scans
from sslseg.predict.studies import FolderSummary, Studies, write_summary


def predict_folder(
    model_path: str | Path,
    input_path: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    overlap: float = 0.5,
    device: str = "auto",
    precision: Precision = "auto",
    uncertainty: bool = False,
    skip_existing: bool = False,
    overwrite: bool = False,
    postprocess: bool = True,
    file_format: PredictionFormat = "nifti",
    events: EventSink | None = None,
    cancel: Cancel = lambda: False,
) -> FolderSummary:
    """Write `<stem>.nii.gz`, and `<stem>_uncertainty.nii.gz` if wanted, for a volume or for each in a folder.

    As `seg.nrrd` it is `<stem>.seg.nrrd`, which keeps the organs' names, colours and terminology. `summary.csv` lists
    every study. What an earlier run has done, with the same model and settings and from the same voxels, is not done
    again: a run that was stopped or killed goes on with the same call.

    Args:
        model_path: a model folder.
        input_path: a volume, a folder of a DICOM series, or a folder that holds such things at any depth; its
            structure is repeated in `output`. It may be several of them.
        output: folder for the results.
        overlap: share by which neighbouring windows overlap, 0 to 0.9.
        device: auto, cpu, cuda, cuda:1, mps.
        precision: arithmetic of the convolutions.
        uncertainty: whether to write the uncertainty map too.
        skip_existing: leave volumes alone whose results are there, whoever made them.
        overwrite: replace results that no earlier run has made; without, their studies are listed as failed.
        postprocess: clean label maps up as the model's rules say.
        file_format: of the results.
        events: takes progress, artifacts and warnings.
        cancel: asked between any two forward passes.

    Raises:
        SSLSegError: the model cannot be read, there is no volume, a result would replace another or a volume,
            or none could be predicted. A single bad volume is listed in the summary.
    """
    if not 0 <= overlap <= 0.9:
        raise SSLSegError(f"The overlap {overlap} does not lie between 0 and 0.9")
    model = load_model(model_path)
    root = Path(output)
    labels = tuple(model.plan.labels) if file_format == "seg.nrrd" else None
    given = [input_path] if isinstance(input_path, str | Path) else input_path
    scans = _scans([Path(path) for path in given], root, uncertainty=uncertainty, labels=labels)
    sink = events or _Silence()
    predictor = VolumePredictor(
        model,
        overlap=overlap,
        device=resolve_device(device),
        precision=precision,
        clean=postprocess,
        warn=lambda message: sink.write("warning", message=message),
    )
    digest = model_digest(Path(model_path), overlap=overlap, clean=postprocess, uncertainty=uncertainty)
    studies = Studies(root, Ledger(root, digest), model.plan.labels)
    refused = [] if overwrite or skip_existing else studies.not_ours(scans)
    for name, reason in refused:
        sink.write("warning", message=f"{name} was left alone. {reason}", case=name)
    if len(refused) == len(scans):
        raise SSLSegError(f"No result can be written. {refused[0][1]}")
    left_alone = {name for name, _ in refused}
    summary = predict_scans(
        predictor,
        [scan for scan in scans if scan.name not in left_alone],
        sink,
        cancel,
        is_done=has_files if skip_existing else studies.is_done,
        glance=studies.glance,
        describe=studies.describe,
        finished=studies.finished,
    )
    summary.failed[:0] = refused
    result = FolderSummary(**vars(summary), entries=studies.ledger.entries, labels=list(model.plan.labels))
    write_summary(root, result)
    return result


class _Silence:
    """Takes events and forgets them."""

    def write(self, event: str, **fields: Any) -> None:
        pass


def _volumes(source: Path, output: Path) -> tuple[Path, list[Path]]:
    """The folder that names are relative to, and the volumes in it."""
    if not source.is_dir() or is_volume_path(source):
        # A single path is taken at its word; reading says what is wrong with it.
        return source.parent, [source]
    # Earlier results must not be predicted again when they lie inside the folder of the images.
    volumes = [path for path in find_volumes(source) if not _lies_in(path, output, source)]
    if not volumes:
        raise SSLSegError(
            "There is no volume in the folder",
            file=source,
            remedy="Give a folder with NIfTI, NRRD, MetaImage files or DICOM series.",
        )
    return source, volumes


def _scans(
    sources: Sequence[Path], output: Path, *, uncertainty: bool, labels: tuple[Label, ...] | None
) -> list[Scan]:
    """Every volume and where its results go: a segmentation of `labels`, or a label map where that is None."""
    found = (_volumes(source, output) for source in sources)
    roots = {path: root for root, volumes in found for path in volumes}
    suffix = ".nii.gz" if labels is None else SEGMENTATION_SUFFIX
    targets = {
        path: output / path.parent.relative_to(root) / f"{volume_stem(path)}{suffix}"
        for path, root in roots.items()
    }
    repeated = [target for target, count in Counter(targets.values()).items() if count > 1]
    if repeated:
        same = [path for path in targets if targets[path] == repeated[0]]
        raise SSLSegError(
            f"{same[0].name} and {same[1].name} would both become {repeated[0].name}",
            file=same[0].parent,
            remedy="Rename one of them.",
        )
    replaced = [path for path in targets if targets[path].resolve() == path.resolve()]
    if replaced:
        raise SSLSegError(
            "The result would replace the volume itself",
            file=replaced[0],
            remedy="Choose another output folder.",
        )
    return [
        Scan(
            name=path.relative_to(roots[path]).as_posix(),
            image=path,
            label_map=target,
            uncertainty=target.with_name(f"{volume_stem(path)}_uncertainty.nii.gz") if uncertainty else None,
            labels=labels or (),
        )
        for path, target in targets.items()
    ]


def _lies_in(path: Path, output: Path, root: Path) -> bool:
    """Whether `path` is among the results, in a folder of their own inside the folder of the volumes."""
    inside = output.resolve()
    return (
        inside != root.resolve()
        and inside.is_relative_to(root.resolve())
        and path.resolve().is_relative_to(inside)
    )
