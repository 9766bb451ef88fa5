"""Prediction of volumes, cohorts and folders with small untrained models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from torch import Tensor

from sslseg.bundle.metadata import ModelRecord
from sslseg.bundle.model_folder import TrainedModel, save_model
from sslseg.contract.cohort import Case, Cohort, Use
from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import Label, LabelTable
from sslseg.contract.settings import PredictSettings
from sslseg.data.fingerprint import Fingerprint, OrganSize
from sslseg.data.geometry import Geometry
from sslseg.data.plan import IntensityMapping, Plan
from sslseg.data.volumes import read_volume, write_volume
from sslseg.inference import predictor as predictor_module
from sslseg.inference.predictor import VolumePredictor, predict_volume
from sslseg.inference.sliding_window import Ensemble
from sslseg.networks import build_network
from sslseg.networks.base import SegmentationNetwork
from sslseg.predict.cohort_prediction import predict_cohort
from sslseg.predict.folder_prediction import predict_folder

SOFT, BONE = Label("soft tissue", 9, (200, 150, 100)), Label("bone", 4, (250, 250, 220))
STRIDES = ((2, 2, 2), (2, 2, 2))
OBLIQUE = (0.0, -0.6, 0.8, 1.0, 0.0, 0.0, 0.0, 0.8, 0.6)


class Events:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.all: list[tuple[str, dict[str, Any]]] = []

    def write(self, event: str, **fields: Any) -> None:
        self.all.append((event, fields))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [fields for event, fields in self.all if event == kind]


class Threshold(SegmentationNetwork):
    """Soft tissue above 0.3, bone above 0.7, so that the right answer is known."""

    def __init__(self) -> None:
        super().__init__(in_channels=1, out_channels=3, level_channels=[1], strides=STRIDES)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([0.0, 100.0, 200.0]).reshape(3, 1, 1, 1, 1))
            self.head.bias.copy_(torch.tensor([0.0, -30.0, -100.0]))

    def features(self, x: Tensor) -> list[Tensor]:
        return [x]


def a_plan(labels: tuple[Label, ...] = (SOFT, BONE), modality: str = "CT") -> Plan:
    organs = tuple(OrganSize(label.name, 3, 100.0) for label in labels)
    numbers = ((2.0, 2.0, 2.0), (1.0, 1.0, 1.0), (32.0, 32.0, 32.0), (-60.0, 50.0, 190.0))
    fingerprint = Fingerprint(modality, labels, 9, 3, *numbers, organs)  # type: ignore[arg-type]
    mapping = IntensityMapping("fixed", -100.0, 900.0)
    return Plan(1, modality, labels, (2.0, 2.0, 2.0), mapping, (8, 8, 8), STRIDES, (), fingerprint)  # type: ignore[arg-type]


def a_scan(*, direction: tuple[float, ...] = OBLIQUE, seed: int = 0) -> sitk.Image:
    """A body of soft tissue with a bone in it, in air."""
    z, y, x = np.ogrid[:20, :24, :28]
    centre = 12 + seed % 3
    body = (z - 10) ** 2 + (y - 12) ** 2 + (x - centre) ** 2
    voxels = np.where(body < 64, 400, -1000)
    voxels[body < 12] = 1200
    image = sitk.GetImageFromArray(voxels.astype(np.int16))
    Geometry((28, 24, 20), (1.5, 2.0, 1.2), (-31.25, 7.5, 100.125), direction).set_on(image)
    return image


def a_small_network(seed: int = 0) -> SegmentationNetwork:
    torch.manual_seed(seed)
    return build_network("vnet", out_channels=3, strides=STRIDES, filters=4)


def a_record() -> ModelRecord:
    return ModelRecord(method="supervised", steps=1, seed=0, labelled=1, unlabelled=0)


def a_model(*networks: SegmentationNetwork) -> TrainedModel:
    return TrainedModel("double", list(networks) or [Threshold()], a_plan(), a_record())


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    """Four cases, of which the second cannot be read, and a model."""
    with_labels = LabelTable([SOFT, BONE])
    Cohort.create(tmp_path / "cohort", name="four", modality="CT", labels=with_labels)
    with Cohort.edit(tmp_path / "cohort") as edited:
        for number in range(4):
            case = Case(
                f"case_{number}", f"images/case_{number}.nii.gz", use=Use.TEST if number == 3 else Use.TRAIN
            )
            write_volume(a_scan(seed=number), edited.image_path(case))
            edited.cases.append(case)
        broken = edited.image_path(edited.cases[1])
        broken.write_bytes(broken.read_bytes()[:-200])
        save_model(
            edited.model_folder("first"), networks=[a_small_network()], plan=a_plan(), record=a_record()
        )
    return Cohort.read(tmp_path / "cohort")


def never() -> bool:
    return False


def test_segments_what_the_network_sees_on_the_exact_grid_of_the_scan() -> None:
    scan = a_scan()
    prediction = predict_volume(a_model(), scan, precision="float32")
    voxels = sitk.GetArrayFromImage(scan)
    found = sitk.GetArrayFromImage(prediction.label_map)
    truth = np.select([voxels > 600, voxels > 200], [BONE.value, SOFT.value])
    for value in (SOFT.value, BONE.value):
        overlap = (
            2
            * ((found == value) & (truth == value)).sum()
            / ((found == value).sum() + (truth == value).sum())
        )
        assert overlap > 0.75, value
    assert found[10, 12, 12] == BONE.value
    assert found[10, 12, 18] == SOFT.value
    for image in (prediction.label_map, prediction.uncertainty):
        assert Geometry.of(image) == Geometry.of(scan)
        assert image.GetPixelID() == sitk.sitkUInt8
    uncertainty = sitk.GetArrayFromImage(prediction.uncertainty)
    assert uncertainty.max() <= 100
    assert uncertainty[10, 12, 12] == 0
    assert uncertainty.max() > 10


def test_uncertainty_shows_where_networks_disagree() -> None:
    class Opposite(Threshold):
        def features(self, x: Tensor) -> list[Tensor]:
            return [1 - x]

    alone = predict_volume(a_model(), a_scan(), precision="float32").uncertainty
    both = predict_volume(a_model(Threshold(), Opposite()), a_scan(), precision="float32").uncertainty
    assert sitk.GetArrayFromImage(both)[10, 12, 12] >= 60
    assert sitk.GetArrayFromImage(alone)[10, 12, 12] == 0


def test_takes_fewer_windows_at_a_time_when_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = predict_volume(a_model(), a_scan()).label_map
    sizes = _out_of_memory_above(1, monkeypatch)
    warnings: list[str] = []
    predictor = VolumePredictor(a_model(), warn=warnings.append)
    prepared = predictor.prepare(a_scan())
    assert sitk.Hash(predictor(prepared).label_map) == sitk.Hash(expected)
    assert max(sizes) > 1
    assert warnings
    assert warnings[-1] == "The memory of cpu ran out; going on with 1 window(s) at a time."
    # The next scan starts with what was found to fit.
    count = len(warnings)
    predictor(prepared)
    assert len(warnings) == count


def test_goes_on_with_the_cpu_when_the_device_is_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pretended(Ensemble):
        """Runs on the CPU whatever it is told, but says that another device ran out of memory."""

        def __init__(self, networks: Any, device: torch.device, **options: Any) -> None:
            super().__init__(networks, torch.device("cpu"), **options | {"bfloat16": False})
            self.tiny = device.type != "cpu"

        def __call__(self, windows: Tensor) -> Tensor:
            if self.tiny:
                raise torch.OutOfMemoryError("MPS backend out of memory")
            return super().__call__(windows)

    monkeypatch.setattr(predictor_module, "Ensemble", Pretended)
    warnings: list[str] = []
    predictor = VolumePredictor(a_model(), device="mps", warn=warnings.append)
    found = predictor(predictor.prepare(a_scan())).label_map
    assert predictor.device.type == "cpu"
    assert "The memory of mps is too small for one window; going on with the CPU, slower." in warnings
    monkeypatch.undo()
    assert sitk.Hash(found) == sitk.Hash(predict_volume(a_model(), a_scan(), precision="float32").label_map)


def test_says_so_when_even_the_computer_has_too_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    _out_of_memory_above(0, monkeypatch)
    with pytest.raises(SSLSegError, match="too little memory"):
        predict_volume(a_model(), a_scan())


def test_other_failures_of_a_network_are_not_taken_for_a_lack_of_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(self: Ensemble, windows: Tensor) -> Tensor:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(Ensemble, "__call__", fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        predict_volume(a_model(), a_scan())


def test_predicts_a_cohort_around_a_case_that_cannot_be_read(cohort: Cohort) -> None:
    events = Events()
    summary = predict_cohort(cohort, PredictSettings("first", device="cpu"), events, never)
    assert summary.done == ["case_0", "case_2", "case_3"]
    assert [name for name, _ in summary.failed] == ["case_1"]
    assert not summary.cancelled
    for name in summary.done:
        image = read_volume(cohort.image_path(cohort.case(name)))
        for path in (cohort.prediction_path("first", name), cohort.uncertainty_path("first", name)):
            written = read_volume(path)
            assert Geometry.of(written).mismatch(Geometry.of(image)) is None
        labels = sitk.GetArrayFromImage(read_volume(cohort.prediction_path("first", name)))
        assert set(np.unique(labels)) <= {0, SOFT.value, BONE.value}
    assert not cohort.prediction_path("first", "case_1").exists()


def test_tells_the_story_of_a_prediction(cohort: Cohort) -> None:
    events = Events()
    predict_cohort(cohort, PredictSettings("first", device="cpu"), events, never)
    assert events.all[0][0] == "started"
    assert events.all[0][1]["command"] == "predict"
    finished = [fields for fields in events.of("progress") if fields["share"] == 1]
    assert [(fields["step"], fields["steps"]) for fields in finished] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert finished[-1]["seconds_left"] == 0
    paths = [Path(fields["path"]) for fields in events.of("artifact")]
    assert paths == [cohort.prediction_path("first", name) for name in ("case_0", "case_2", "case_3")]
    messages = [fields["message"] for fields in events.of("warning")]
    assert messages[0].startswith("case_1 could not be predicted.")
    assert "case_1.nii.gz" in messages[0]
    assert messages[-1] == "1 scan(s) could not be predicted: case_1."


def test_leaves_existing_predictions_alone_if_asked_to(cohort: Cohort) -> None:
    predict_cohort(cohort, PredictSettings("first", cases=["case_0"], device="cpu"), Events(), never)
    path = cohort.prediction_path("first", "case_0")
    before = path.stat().st_mtime_ns
    wanted = PredictSettings("first", cases=["case_0", "case_2"], device="cpu", skip_existing=True)
    summary = predict_cohort(cohort, wanted, Events(), never)
    assert (summary.skipped, summary.done) == (["case_0"], ["case_2"])
    assert path.stat().st_mtime_ns == before


def test_stops_between_windows_and_keeps_what_is_complete(cohort: Cohort) -> None:
    events = Events()
    summary = predict_cohort(
        cohort, PredictSettings("first", device="cpu"), events, lambda: bool(events.of("artifact"))
    )
    assert summary.cancelled
    assert summary.done
    assert len(summary.done) < 3
    written = sorted(path.name for path in cohort.prediction_path("first", "x").parent.glob("*.nii.gz"))
    assert written == [f"{name}.nii.gz" for name in summary.done]
    assert events.of("cancelled") == [{"step": len(summary.done)}]


def test_fails_when_not_one_case_can_be_predicted(cohort: Cohort) -> None:
    with pytest.raises(SSLSegError, match=r"None of the 1 scan\(s\) could be predicted.*case_1\.nii\.gz"):
        predict_cohort(cohort, PredictSettings("first", cases=["case_1"], device="cpu"), Events(), never)


def test_an_unwritable_prediction_does_not_stop_the_rest(cohort: Cohort) -> None:
    cohort.prediction_path("first", "case_0").mkdir(parents=True)
    summary = predict_cohort(cohort, PredictSettings("first", device="cpu"), Events(), never)
    assert summary.done == ["case_2", "case_3"]
    assert [name for name, _ in summary.failed] == ["case_1", "case_0"]


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        (a_plan(modality="MR"), "is for MR, and the cohort holds CT"),
        (
            a_plan((Label("liver", 9, (1, 1, 1)), BONE)),
            "value 9 means 'liver' .* and 'soft tissue' to the cohort",
        ),
        (
            a_plan((Label("liver", 77, (1, 1, 1)), BONE)),
            "value 77 means 'liver' .* and nothing to the cohort",
        ),
    ],
)
def test_refuses_a_model_for_other_images_or_organs(cohort: Cohort, plan: Plan, sentence: str) -> None:
    save_model(cohort.model_folder("other"), networks=[a_small_network()], plan=plan, record=a_record())
    with pytest.raises(SSLSegError, match=sentence):
        predict_cohort(cohort, PredictSettings("other", device="cpu"), Events(), never)


def _folder(tmp_path: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        write_volume(a_scan(seed=number), tmp_path / "scans" / name)
    return tmp_path / "scans"


def _predict(cohort: Cohort, source: Path, output: Path, **options: Any) -> Any:
    return predict_folder(cohort.model_folder("first"), source, output, device="cpu", **options)


def test_predicts_every_volume_of_a_folder(cohort: Cohort, tmp_path: Path) -> None:
    source = _folder(tmp_path, "a.nii.gz", "deeper/b.nrrd", "c.mha")
    (source / "bad.nii.gz").write_bytes(b"no volume")
    summary = _predict(cohort, source, tmp_path / "out", uncertainty=True)
    assert sorted(summary.done) == ["a.nii.gz", "c.mha", "deeper/b.nrrd"]
    assert [name for name, _ in summary.failed] == ["bad.nii.gz"]
    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.nii.gz")}
    stems = ("a", "c", "deeper/b")
    assert written == {f"{stem}{end}.nii.gz" for stem in stems for end in ("", "_uncertainty")}


def test_predicts_a_single_volume(cohort: Cohort, tmp_path: Path) -> None:
    source = _folder(tmp_path, "a.nrrd") / "a.nrrd"
    assert _predict(cohort, source, tmp_path / "out").done == ["a.nrrd"]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"a.nii.gz", "summary.csv", ".sslseg"}


def test_does_not_predict_its_own_results(cohort: Cohort, tmp_path: Path) -> None:
    source = _folder(tmp_path, "a.nii.gz")
    assert _predict(cohort, source, source / "out").done == ["a.nii.gz"]
    again = _predict(cohort, source, source / "out")
    assert (again.done, again.skipped) == ([], ["a.nii.gz"])


@pytest.mark.parametrize(
    ("names", "output", "sentence"),
    [
        (("a.nii.gz", "a.nrrd"), "out", r"a\.nii\.gz and a\.nrrd would both become a\.nii\.gz"),
        (("a.nii.gz",), "scans", "would replace the volume itself"),
        ((), "out", "does not exist"),
    ],
)
def test_refuses_names_that_clash_and_folders_without_volumes(
    cohort: Cohort, tmp_path: Path, names: tuple[str, ...], output: str, sentence: str
) -> None:
    source = _folder(tmp_path, *names)
    before = {path: path.read_bytes() for path in source.rglob("*.nii.gz")}
    with pytest.raises(SSLSegError, match=sentence):
        _predict(cohort, source, tmp_path / output)
    assert {path: path.read_bytes() for path in source.rglob("*.nii.gz")} == before


def test_refuses_an_empty_folder_and_an_impossible_overlap(cohort: Cohort, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SSLSegError, match="no volume in the folder"):
        _predict(cohort, tmp_path / "empty", tmp_path / "out")
    with pytest.raises(SSLSegError, match=r"between 0 and 0\.9"):
        _predict(cohort, tmp_path / "empty", tmp_path / "out", overlap=1.0)


def _out_of_memory_above(windows: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Make forward passes of more windows fail; returns the sizes that were tried."""
    predict: Callable[[Ensemble, Tensor], Tensor] = Ensemble.__call__
    sizes: list[int] = []

    def limited(self: Ensemble, batch: Tensor) -> Tensor:
        sizes.append(len(batch))
        if len(batch) > windows:
            raise torch.OutOfMemoryError("out of memory")
        return predict(self, batch)

    monkeypatch.setattr(Ensemble, "__call__", limited)
    return sizes
