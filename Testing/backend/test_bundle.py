"""The model folder: what is saved comes back, and what does not fit is refused with a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sslseg.bundle import model_folder
from sslseg.bundle.metadata import ModelRecord, ValidationPoint
from sslseg.bundle.model_folder import load_model, read_record, save_model
from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import Label
from sslseg.data.fingerprint import Fingerprint, OrganSize
from sslseg.data.plan import IntensityMapping, Plan
from sslseg.networks import build_network
from sslseg.networks.base import SegmentationNetwork

LABELS = (Label("liver", 5, (200, 10, 10), "Segmentation category~Liver"), Label("spleen", 2, (10, 200, 10)))
STRIDES = ((2, 2, 2), (1, 2, 2))


def a_plan() -> Plan:
    organs = tuple(OrganSize(label.name, 3, 100.0) for label in LABELS)
    fingerprint = Fingerprint(
        "CT", LABELS, 9, 3, (2.0, 1.0, 1.0), (1.0, 1.0, 1.0), (32.0, 32.0, 32.0), (-60.0, 50.0, 190.0), organs
    )
    mapping = IntensityMapping("fixed", -100.0, 240.0)
    return Plan(1, "CT", LABELS, (2.0, 1.0, 1.0), mapping, (16, 32, 32), STRIDES, (), fingerprint)


def a_record(**changes: Any) -> ModelRecord:
    return ModelRecord(
        **({"method": "mean_teacher", "steps": 300, "seed": 4, "labelled": 3, "unlabelled": 6} | changes)
    )


def a_network(name: str = "vnet", *, classes: int = 3, seed: int = 0) -> SegmentationNetwork:
    torch.manual_seed(seed)
    return build_network(name, out_channels=classes, strides=STRIDES, filters=4)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "first"
    save_model(folder, networks=[a_network()], plan=a_plan(), record=a_record())
    return folder


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "sslseg.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_model_comes_back_as_it_was(tmp_path: Path) -> None:
    networks = [a_network(seed=1), a_network("resnet34_vnet", seed=2)]
    record = a_record(
        validation_cases=2,
        dice={"liver": 0.91, "spleen": None},
        validation=[ValidationPoint(100, {"liver": 0.5, "spleen": None})],
        settings={"learning_rate": 0.01, "patch_size": None},
    )
    save_model(tmp_path / "both", networks=networks, plan=a_plan(), record=record)
    loaded = load_model(tmp_path / "both")
    assert (loaded.name, loaded.plan, loaded.record) == ("both", a_plan(), record)
    patch = torch.rand(1, 1, 16, 32, 32)
    for network, original in zip(loaded.networks, networks, strict=True):
        assert not network.training
        with torch.no_grad():
            assert torch.equal(network(patch), original.eval()(patch))


def test_loading_disturbs_no_random_numbers(model: Path) -> None:
    state = torch.get_rng_state()
    load_model(model)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_record_is_readable_without_the_weights(model: Path) -> None:
    (model / "models" / "model.pt").unlink()
    record = read_record(model)
    assert (record["method"], record["labelled"], record["unlabelled"]) == ("mean_teacher", 3, 6)
    assert record["versions"]["torch"] == torch.__version__


def test_a_new_model_replaces_the_old_one_without_a_trace(model: Path) -> None:
    (model / "stray.txt").write_text("of the old model")
    save_model(model, networks=[a_network(seed=3)], plan=a_plan(), record=a_record(steps=7))
    assert load_model(model).record.steps == 7
    assert not (model / "stray.txt").exists()
    assert [path.name for path in model.parent.iterdir() if path.is_dir()] == ["first"]


def test_the_old_model_stays_when_the_new_one_cannot_be_written(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_folder.torch, "save", full)
    with pytest.raises(SSLSegError, match="No space left on device"):
        save_model(model, networks=[a_network()], plan=a_plan(), record=a_record(steps=7))
    assert load_model(model).record.steps == 300
    assert [path.name for path in model.parent.iterdir() if path.is_dir()] == ["first"]


def test_the_old_model_stays_when_the_new_one_cannot_take_its_place(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def refuses_the_new_one(self: Path, target: Path) -> Path:
        if self.name.startswith(".writing"):
            raise OSError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuses_the_new_one)
    with pytest.raises(SSLSegError, match="Permission denied"):
        save_model(model, networks=[a_network()], plan=a_plan(), record=a_record(steps=7))
    assert load_model(model).record.steps == 300
    assert [path.name for path in model.parent.iterdir() if path.is_dir()] == ["first"]


def test_describes_itself_as_a_monai_bundle(model: Path) -> None:
    metadata = json.loads((model / "configs" / "metadata.json").read_text())
    required = {
        "version",
        "monai_version",
        "pytorch_version",
        "numpy_version",
        "task",
        "description",
        "authors",
    }
    assert required | {"copyright", "network_data_format", "changelog"} <= set(metadata)
    image = metadata["network_data_format"]["inputs"]["image"]
    prediction = metadata["network_data_format"]["outputs"]["pred"]
    assert (image["num_channels"], image["spatial_shape"], image["value_range"]) == (1, [16, 32, 32], [0, 1])
    assert prediction["num_channels"] == 3
    assert prediction["channel_def"] == {"0": "background", "1": "liver", "2": "spleen"}
    assert metadata["label_classes"] == "0 is background, 5 is liver, 2 is spleen"


def test_the_readme_says_on_how_many_cases_it_was_measured(tmp_path: Path) -> None:
    record = a_record(validation_cases=2, dice={"liver": 0.9126, "spleen": None})
    save_model(tmp_path / "m", networks=[a_network()], plan=a_plan(), record=record)
    text = (tmp_path / "m" / "docs" / "README.md").read_text()
    assert "2 annotated case(s), held back from the training" in text
    assert "| liver | 5 | 0.913 |" in text
    assert "| spleen | 2 | not measured |" in text
    assert "| Annotated cases | 3 |" in text
    assert "| Unlabelled cases | 6 |" in text


def test_the_readme_says_when_another_model_was_measured(tmp_path: Path) -> None:
    record = a_record(validation_cases=3, leave_one_out=True, dice={"liver": 0.9, "spleen": 0.8})
    save_model(tmp_path / "m", networks=[a_network()], plan=a_plan(), record=record)
    text = (tmp_path / "m" / "docs" / "README.md").read_text()
    assert "each measured by a model trained without it; this one was trained on all of them" in text
    assert "held back" not in text


def test_the_readme_admits_that_nothing_was_measured(model: Path) -> None:
    assert "It was not measured" in (model / "docs" / "README.md").read_text()


def test_refuses_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(SSLSegError, match="no model in this folder"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"version": 2}, "version 2, and this program reads version 1"),
        ({"schema": "else"}, "does not describe a model"),
        ({"surprise": 1}, "surprise is not a known field"),
        ({"networks": []}, "names no network"),
        ({"networks": [{"name": "transformer", "options": {"out_channels": 3}}]}, "no network 'transformer'"),
        ({"networks": [{"name": "vnet", "options": {"out_channels": 3, "magic": 1}}]}, "not understood"),
        ({"networks": [{"name": "vnet", "options": {"out_channels": 3}}]}, "weights do not fit"),
        (
            {"networks": [{"name": "vnet", "options": {"out_channels": 9}}]},
            "9 classes, and the plan says 1 and 3",
        ),
    ],
)
def test_refuses_a_description_that_does_not_fit(model: Path, changes: dict[str, Any], sentence: str) -> None:
    if changes.get("networks"):
        for network in changes["networks"]:
            network["options"].setdefault("strides", [list(stride) for stride in STRIDES])
    edit(model, **changes)
    with pytest.raises(SSLSegError, match=sentence) as caught:
        load_model(model)
    assert str(model) in str(caught.value)


def test_refuses_weights_of_another_number_of_networks(model: Path) -> None:
    state = a_network().state_dict()
    torch.save({"networks": [state, state]}, model / "models" / "model.pt")
    with pytest.raises(SSLSegError, match=r"weights of 2 network\(s\), and the model names 1"):
        load_model(model)


def test_refuses_missing_and_truncated_weights(model: Path) -> None:
    weights = model / "models" / "model.pt"
    content = weights.read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 10):
        weights.write_bytes(content[:length])
        with pytest.raises(SSLSegError, match="damaged"):
            load_model(model)
    weights.unlink()
    with pytest.raises(SSLSegError, match="weights of the model are missing"):
        load_model(model)


class _Trap:
    """Unpickling it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_never_runs_code_from_the_weights(model: Path, tmp_path: Path) -> None:
    torch.save({"networks": [_Trap(tmp_path / "sprung")]}, model / "models" / "model.pt")
    with pytest.raises(SSLSegError, match="more than weights"):
        load_model(model)
    assert not (tmp_path / "sprung").exists()
