"""`sslseg predict` for the cases of a cohort."""

from __future__ import annotations

from typing import Any

from sslseg.bundle.model_folder import TrainedModel, load_model
from sslseg.contract.cohort import Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.events import EventSink
from sslseg.contract.labels import normalised_name
from sslseg.contract.quality import CaseQuality, quality_path, write_quality
from sslseg.contract.settings import PredictSettings
from sslseg.inference.predictor import VolumePrediction, VolumePredictor
from sslseg.networks.devices import resolve_device
from sslseg.predict.pipeline import Cancel, PredictionSummary, Scan, has_files, predict_scans
from sslseg.quality.cards import measure_case
from sslseg.quality.judging import Judge


def predict_cohort(
    cohort: Cohort, settings: PredictSettings, events: EventSink, cancel: Cancel = lambda: False
) -> PredictionSummary:
    """Write label map, uncertainty map and quality card for the cases of a cohort, below `predictions/<model>`.

    Args:
        cohort: its cases, for training and for testing, labelled or not.
        settings: model, cases, overlap, device.
        events: takes progress, artifacts and warnings.
        cancel: asked between any two forward passes.

    Raises:
        SSLSegError: the model or a case is unknown, the model is for other images or organs, or no case could
            be predicted. A single bad case is a warning.
    """
    names = [case.id for case in cohort.cases] if settings.cases is None else settings.cases
    cases = [cohort.case(name) for name in dict.fromkeys(names)]
    if not cases:
        raise SSLSegError(
            "There is no case to predict", file=cohort.folder, remedy="Add volumes with 'sslseg import'."
        )
    device = resolve_device(settings.device)
    model = load_model(cohort.model_folder(settings.model))
    _check_fit(model, cohort)
    predictor = VolumePredictor(
        model,
        overlap=settings.overlap,
        device=device,
        precision=settings.precision,
        clean=settings.postprocess,
        mirror=settings.mirror,
        evidence=True,
        warn=lambda message: events.write("warning", message=message),
    )
    scans = [
        Scan(
            name=case.id,
            image=cohort.image_path(case),
            label_map=cohort.prediction_path(settings.model, case.id),
            uncertainty=cohort.uncertainty_path(settings.model, case.id),
            series=case.series,
            card=quality_path(cohort, settings.model, case.id),
        )
        for case in cases
    ]
    judge = Judge(cohort, settings.model)
    names_by_value = {label.value: label for label in cohort.labels}
    organs = [names_by_value[label.value] for label in model.plan.labels]

    def describe(scan: Scan, prediction: VolumePrediction) -> dict[str, Any]:
        assert prediction.evidence is not None
        measured = measure_case(scan.name, settings.model, prediction.label_map, organs, prediction.evidence)
        card = judge.judge(measured)
        write_quality(cohort, card)
        return _in_short(card)

    return predict_scans(
        predictor,
        scans,
        events,
        cancel,
        is_done=has_files if settings.skip_existing else None,
        describe=describe,
    )


def _in_short(card: CaseQuality) -> dict[str, Any]:
    """What the event of a prediction says of its quality."""
    organs = {
        organ.organ: {
            "verdict": organ.verdict.value,
            "reasons": organ.reasons,
            "volume_ml": organ.volume_ml,
            "expected_dice": organ.expected_dice,
        }
        for organ in card.organs
    }
    return {"verdict": card.verdict.value, "reasons": card.reasons, "organs": organs}


def _check_fit(model: TrainedModel, cohort: Cohort) -> None:
    """A value in a prediction must mean the same organ as in the cohort; the model may know fewer organs."""
    if model.plan.modality != cohort.modality:
        raise SSLSegError(
            f"The model '{model.name}' is for {model.plan.modality}, and the cohort holds {cohort.modality}",
            remedy="Choose a model that was trained on this kind of images.",
        )
    declared = {label.value: label.name for label in cohort.labels}
    for label in model.plan.labels:
        name = declared.get(label.value)
        if name is None or normalised_name(name) != normalised_name(label.name):
            raise SSLSegError(
                f"The value {label.value} means '{label.name}' to the model '{model.name}' and "
                f"{'nothing' if name is None else repr(name)} to the cohort",
                remedy="Choose a model that was trained for the organs of this cohort.",
            )
