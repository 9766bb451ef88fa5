"""Many scans in a row: while one is predicted, the next is read and the last one written."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from sslseg.contract.errors import SSLSegError
from sslseg.contract.events import EventSink, failure_message
from sslseg.contract.formats import SEGMENTATION_SUFFIX, format_suffix
from sslseg.contract.labels import Label
from sslseg.data.preprocess import Prepared
from sslseg.data.segmentation_file import write_segmentation
from sslseg.data.volumes import read_volume, write_volume
from sslseg.inference.predictor import VolumePrediction, VolumePredictor
from sslseg.networks.devices import describe_device

Cancel = Callable[[], bool]

_SECONDS_BETWEEN_EVENTS = 1.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scan:
    """One scan to predict.

    Attributes:
        name: in events and messages.
        image: file, or folder of a DICOM series.
        label_map: where the label map goes; a name that ends in .seg.nrrd makes it a segmentation of `labels`.
        uncertainty: where the uncertainty map goes, or None for none.
        series: DICOM series instance UID, when the folder holds several.
        card: where its quality card goes, or None for none.
        labels: what a segmentation says of its organs: names, values, colours, terminology.
    """

    name: str
    image: Path
    label_map: Path
    uncertainty: Path | None
    series: str | None = None
    card: Path | None = None
    labels: tuple[Label, ...] = ()


Describe = Callable[[Scan, VolumePrediction], dict[str, Any]]
"""Writes down what is known of a prediction, and returns what its event is to say of it; runs beside the next scan."""

Glance = Callable[[Scan, sitk.Image], None]
"""Sees each volume as it was read; runs beside the prediction of the scan before."""

Finished = Callable[[Scan, dict[str, Any], float], None]
"""Is told of a scan whose files are all written: what was described, and the seconds that the networks took."""


@dataclass
class PredictionSummary:
    """What became of each scan, by name; `failed` holds (name, reason) pairs."""

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    cancelled: bool = False
    network_seconds: float = 0.0
    waited_seconds: float = 0.0

    @property
    def waited(self) -> float:
        """Share of the time in which the networks waited for a volume to be read or a result to be written."""
        return self.waited_seconds / max(self.waited_seconds + self.network_seconds, 1e-9)


def predict_scans(
    predictor: VolumePredictor,
    scans: Sequence[Scan],
    events: EventSink,
    cancel: Cancel,
    *,
    is_done: Callable[[Scan], bool] | None = None,
    glance: Glance | None = None,
    describe: Describe | None = None,
    finished: Finished | None = None,
) -> PredictionSummary:
    """Predict scan after scan; a bad one is told of and left out.

    At any time there are at most three scans in memory: one each that is read, predicted and written.

    Args:
        predictor: the model on its device.
        scans: what to predict.
        events: takes progress, artifacts and warnings.
        cancel: asked between any two forward passes; a scan that is not finished leaves no file.
        is_done: whether a scan is to be left alone, because its files are there; None predicts all.
        glance: called with each volume when it was read.
        describe: called with each prediction before its label map is written.
        finished: called when all files of a scan are written.

    Raises:
        SSLSegError: there were scans to predict and not one succeeded.
    """
    summary = PredictionSummary()
    waiting = []
    for scan in scans:
        if is_done is not None and is_done(scan):
            summary.skipped.append(scan.name)
        else:
            waiting.append(scan)
    events.write("started", command="predict", device=describe_device(predictor.device), step=0)
    _Run(predictor, waiting, events, cancel, summary, glance, describe, finished).run()
    if summary.failed:
        if not summary.done and not summary.skipped and not summary.cancelled:
            raise SSLSegError(
                f"None of the {len(waiting)} scan(s) could be predicted. {summary.failed[0][1]}"
            )
        names = ", ".join(name for name, _ in summary.failed)
        events.write("warning", message=f"{len(summary.failed)} scan(s) could not be predicted: {names}.")
    if summary.cancelled:
        events.write("cancelled", step=len(summary.done))
    return summary


class _CancelledError(Exception):
    """The user wants no more."""


class _Run:
    """One pass over the scans; events are written by the calling thread only."""

    def __init__(
        self,
        predictor: VolumePredictor,
        scans: Sequence[Scan],
        events: EventSink,
        cancel: Cancel,
        summary: PredictionSummary,
        glance: Glance | None,
        describe: Describe | None,
        finished: Finished | None,
    ) -> None:
        self._predictor, self._scans = predictor, scans
        self._events, self._cancel, self._summary = events, cancel, summary
        self._glance, self._describe, self._finished = glance, describe, finished
        self._writing: tuple[Scan, float, Future[dict[str, Any]]] | None = None
        self._begin = time.monotonic()
        self._last_event = self._begin

    def run(self) -> None:
        with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
            reading = [reader.submit(self._read, scan) for scan in self._scans[:1]]
            try:
                for number, scan in enumerate(self._scans):
                    waiting = time.monotonic()
                    prepared = self._result_of(reading.pop(), scan)
                    # Nothing can be predicted while the first volume is read.
                    self._summary.waited_seconds += (time.monotonic() - waiting) * (number > 0)
                    reading += [
                        reader.submit(self._read, later) for later in self._scans[number + 1 : number + 2]
                    ]
                    begin = time.monotonic()
                    prediction = None if prepared is None else self._predict(prepared, number, scan)
                    end = time.monotonic()
                    self._finish_writing()
                    self._summary.network_seconds += end - begin
                    self._summary.waited_seconds += time.monotonic() - end
                    if prediction is not None:
                        writing = writer.submit(_write, prediction, scan, self._describe)
                        self._writing = scan, end - begin, writing
                    self._tell(number, 1.0)
            except _CancelledError:
                self._summary.cancelled = True
            finally:
                for future in reading:
                    future.cancel()
            self._finish_writing()

    def _read(self, scan: Scan) -> Prepared:
        image = read_volume(scan.image, series_uid=scan.series)
        if self._glance is not None:
            self._glance(scan, image)
        return self._predictor.prepare(image)

    def _predict(self, prepared: Prepared, number: int, scan: Scan) -> VolumePrediction | None:
        def progress(done: int, total: int) -> None:
            self._stop_if_cancelled()
            if time.monotonic() - self._last_event > _SECONDS_BETWEEN_EVENTS:
                self._tell(number, done / total)

        self._stop_if_cancelled()
        try:
            return self._predictor(prepared, progress)
        except _CancelledError:
            raise
        except Exception as error:
            self._failed(scan, error)
        return None

    def _result_of(self, future: Future[Prepared], scan: Scan) -> Prepared | None:
        try:
            return future.result()
        except Exception as error:
            self._failed(scan, error)
        return None

    def _finish_writing(self) -> None:
        if self._writing is None:
            return
        scan, seconds, future = self._writing
        self._writing = None
        try:
            told = future.result()
            if self._finished is not None:
                self._finished(scan, told, seconds)
        except Exception as error:
            self._failed(scan, error)
            return
        self._summary.done.append(scan.name)
        path = scan.label_map.as_posix()
        self._events.write("artifact", path=path, kind="prediction", case=scan.name, **told)

    def _failed(self, scan: Scan, error: Exception) -> None:
        message = failure_message(error)
        if not isinstance(error, SSLSegError):
            _log.error("prediction of %s failed", scan.name, exc_info=error)
        self._summary.failed.append((scan.name, message))
        self._events.write(
            "warning", message=f"{scan.name} could not be predicted. {message}", case=scan.name
        )

    def _stop_if_cancelled(self) -> None:
        if self._cancel():
            raise _CancelledError

    def _tell(self, number: int, share: float) -> None:
        """Progress in scans; `share` of scan `number` is done."""
        self._last_event = time.monotonic()
        done = (number + share) / len(self._scans)
        left = (self._last_event - self._begin) * (1 - done) / done
        self._events.write(
            "progress",
            step=number + (share == 1.0),
            steps=len(self._scans),
            seconds_left=round(left, 1),
            case=self._scans[number].name,
            share=round(share, 3),
        )


def has_files(scan: Scan) -> bool:
    """Whether all files that a prediction of the scan writes are there."""
    return all(path is None or path.exists() for path in (scan.label_map, scan.uncertainty, scan.card))


def _write(prediction: VolumePrediction, scan: Scan, describe: Describe | None) -> dict[str, Any]:
    # The label map comes last: where it is, the prediction is complete.
    if scan.uncertainty is not None:
        write_volume(prediction.uncertainty, scan.uncertainty)
    told = {} if describe is None else describe(scan, prediction)
    if format_suffix(scan.label_map) == SEGMENTATION_SUFFIX:
        write_segmentation(prediction.label_map, scan.labels, scan.label_map)
    else:
        write_volume(prediction.label_map, scan.label_map)
    return told
