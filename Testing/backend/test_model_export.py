"""An exported model is a MONAI bundle: MONAI's own commands take it, and it predicts what `sslseg predict` does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged
from monai_metadata import SCHEMA
from tiny_model import a_network, a_plan, a_record

from sslseg.bundle.metadata import INTENDED_USE
from sslseg.bundle.model_folder import load_model, save_model
from sslseg.cli.app import main
from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import Label
from sslseg.contract.postprocess import OrganRule
from sslseg.data.geometry import Geometry
from sslseg.data.plan import IntensityMapping
from sslseg.data.volumes import write_volume
from sslseg.export import model_export
from sslseg.export.bundle_scripts.components import ToScanGridd, ToWorkingGridd, WindowInferer
from sslseg.export.model_export import export_model
from sslseg.inference.predictor import predict_volume

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data" / "headneck_ct"
LABELS = (Label("liver", 7, (200, 80, 80)), Label("spleen", 2, (80, 80, 200)))
RULES = (OrganRule("liver", 7, largest_only=True), OrganRule("spleen", 2, fill_holes=True))
OBLIQUE = (0.0, -0.6, 0.8, 1.0, 0.0, 0.0, 0.0, 0.8, 0.6)
RIGHT_TO_LEFT = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0)

# MONAI's commands in a Python that knows no sslseg: the bundle has to stand alone.
MONAI = """
import json, sys
sys.modules["sslseg"] = None
from monai.bundle import run, verify_metadata, verify_net_in_out
sys.path.insert(0, ".")
metadata, config = "configs/metadata.json", "configs/inference.json"
verify_metadata(meta_file=metadata, filepath=sys.argv[1])
verify_net_in_out("network_def", meta_file=metadata, config_file=config, device="cpu")
run(meta_file=metadata, config_file=config, dataset_dir=sys.argv[2], output_dir=sys.argv[3])
"""


def a_scan(direction: tuple[float, ...] = OBLIQUE, seed: int = 0) -> sitk.Image:
    """A body with two blobs of other brightness in air."""
    random = np.random.default_rng(seed)
    z, y, x = np.ogrid[:22, :26, :30]
    voxels = random.normal(-1000, 4, (22, 26, 30))
    body = (z - 11) ** 2 + (y - 13) ** 2 + (x - 15) ** 2 < 81
    voxels[body] = random.normal(40, 30, int(body.sum()))
    voxels[(z - 9) ** 2 + (y - 11) ** 2 + (x - 13) ** 2 < 14] += 150
    image = sitk.GetImageFromArray(voxels.astype(np.int16))
    Geometry((30, 26, 22), (3.1, 3.5, 5.2), (-41.25, 17.5, 120.125), direction).set_on(image)
    return image


def write_model(folder: Path, *names: str, **plan: Any) -> Path:
    """Untrained networks with outputs far apart, so that rounding decides at few voxels."""
    networks = [a_network(3, name, seed=seed) for seed, name in enumerate(names or ("vnet",))]
    for network in networks:
        with torch.no_grad():
            network.head.weight.mul_(30)
            network.head.bias.zero_()
    record = a_record(labelled=5, unlabelled=20, dice={"liver": 0.9}, validation_cases=2)
    fields: dict[str, Any] = {"spacing": (5.0, 4.0, 3.5), "patch_size": (32, 32, 32)}
    save_model(folder, networks=networks, plan=a_plan(LABELS, **fields | plan), record=record, rules=RULES)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "abdomen", "unet", "vnet")


@pytest.fixture(scope="module")
def bundle(model: Path) -> Path:
    return export_model(model, model.parent / "bundles" / "abdomen")


def ours(model: Path, image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(predict_volume(load_model(model), image, precision="float32").label_map)


@dataclass(frozen=True)
class MonaiRun:
    """What MONAI's commands said, and where they put the label maps of which scans."""

    said: str
    scans: dict[str, Path]
    output: Path

    def labels(self, name: str) -> sitk.Image:
        return sitk.ReadImage(str(self.output / f"{name}_seg.nii.gz"))


@pytest.fixture(scope="module")
def monai_run(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> MonaiRun:
    """All commands in one process, for loading MONAI takes longest; with a real scan where there is one."""
    folder = tmp_path_factory.mktemp("monai")
    (folder / "schema.json").write_text(json.dumps(SCHEMA))
    scans = {name: folder / f"scans/{name}.nii.gz" for name in ("a", "b")}
    write_volume(a_scan(), scans["a"])
    write_volume(a_scan(RIGHT_TO_LEFT, 1), scans["b"])
    if SHARED.is_dir():
        name = (SHARED / "test.txt").read_text().split()[0]
        scans["real"] = folder / "scans/real.nii.gz"
        scans["real"].symlink_to(SHARED / f"images/{name}.nii.gz")
    process = subprocess.run(
        [sys.executable, "-c", MONAI, folder / "schema.json", folder / "scans", folder / "out"],
        cwd=bundle,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert process.returncode == 0, process.stderr
    return MonaiRun(process.stdout + process.stderr, scans, folder / "out")


def test_monai_verifies_it_without_sslseg(monai_run: MonaiRun) -> None:
    assert "metadata is verified with no error" in monai_run.said
    assert "data shape of network is verified with no error" in monai_run.said


def test_monai_finds_the_same_labels_without_sslseg(model: Path, monai_run: MonaiRun) -> None:
    for name in ("a", "b"):
        scan, found = sitk.ReadImage(str(monai_run.scans[name])), monai_run.labels(name)
        assert Geometry.of(found).mismatch(Geometry.of(scan), tolerance_mm=1e-3) is None
        expected = ours(model, scan)
        assert (sitk.GetArrayFromImage(found) != expected).mean() < 1e-4
        assert set(np.unique(expected)) == {0, 2, 7}


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is absent")
def test_monai_finds_the_same_labels_in_a_real_scan(model: Path, monai_run: MonaiRun) -> None:
    expected = ours(model, sitk.ReadImage(str(monai_run.scans["real"])))
    assert (sitk.GetArrayFromImage(monai_run.labels("real")) != expected).mean() < 1e-5
    assert len(np.unique(expected)) > 1


@pytest.mark.parametrize(
    ("direction", "plan"),
    [
        (OBLIQUE, {}),
        (RIGHT_TO_LEFT, {"modality": "MR", "intensity": IntensityMapping("percentile", 0.5, 99.5)}),
        (OBLIQUE, {"spacing": (2.0, 6.0, 3.1)}),
    ],
)
def test_its_components_do_what_a_prediction_does(
    direction: tuple[float, ...], plan: dict[str, Any], tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "m", **plan)
    scan = a_scan(direction)
    write_volume(scan, tmp_path / "scan.nii.gz")
    loaded = load_model(folder)
    prepare = Compose(
        [
            LoadImaged("image"),
            EnsureChannelFirstd("image"),
            ToWorkingGridd("image", str(folder / "sslseg.json")),
        ]
    )
    data = prepare({"image": str(tmp_path / "scan.nii.gz")})
    inferer = WindowInferer(loaded.plan.patch_size, loaded.plan.classes)
    data["pred"] = inferer(data["image"][None], lambda x: loaded.networks[0](x).softmax(dim=1))[0]
    labels = ToScanGridd("pred", "image", str(folder / "sslseg.json"))(data)["pred"]
    assert (labels.numpy()[0].transpose(2, 1, 0) != ours(folder, scan)).mean() < 1e-4
    raw = ToScanGridd("pred", "image", str(folder / "sslseg.json"), clean=False)(data)["pred"]
    assert (raw != labels).any()


def test_the_inferer_takes_one_image_at_a_time() -> None:
    with pytest.raises(ValueError, match="one image of one channel"):
        WindowInferer((8, 8, 8), 2)(torch.zeros(2, 1, 8, 8, 8), None)


def test_it_is_read_back_without_running_what_it_says(model: Path, bundle: Path, tmp_path: Path) -> None:
    """Were a config or a script looked at, this would leave a trace."""
    bundle = Path(shutil.copytree(bundle, tmp_path / "spoilt"))
    (bundle / "scripts/components.py").write_text(
        (bundle / "scripts/components.py").read_text() + "\nraise OSError\n"
    )
    config = json.loads((bundle / "configs/inference.json").read_text())
    trap = tmp_path / "sprung"
    spoilt = {**config, "imports": [f"$open({str(trap)!r}, 'w')"]}
    (bundle / "configs/inference.json").write_text(json.dumps(spoilt))
    loaded, original = load_model(bundle), load_model(model)
    assert (loaded.plan, loaded.record, loaded.rules) == (original.plan, original.record, original.rules)
    for mine, theirs in zip(loaded.networks, original.networks, strict=True):
        assert mine.state_dict().keys() == theirs.state_dict().keys()
        assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in mine.state_dict().items())
    assert not trap.exists()


def test_it_holds_weights_and_nothing_else_of_the_training(bundle: Path) -> None:
    state = torch.load(bundle / "models/model.pt", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    assert {key.split(".")[1] for key in state} == {"0", "1"}
    assert sorted(path.name for path in bundle.iterdir()) == [
        "LICENSE", "configs", "docs", "models", "scripts", "sslseg.json",
    ]  # fmt: skip


def test_its_scripts_are_the_modules_of_this_program(bundle: Path) -> None:
    for path in (bundle / "scripts/sslseg").rglob("*.py"):
        if path == bundle / "scripts/sslseg/__init__.py":
            continue
        own = ROOT / "training/sslseg" / path.relative_to(bundle / "scripts/sslseg")
        assert path.read_text().replace("scripts.sslseg", "sslseg") == own.read_text()
    assert (bundle / "LICENSE").read_text() == (ROOT / "LICENSE.txt").read_text()


def test_its_papers_say_what_it_is_for_and_how_it_came_about(bundle: Path) -> None:
    text = (bundle / "docs/README.md").read_text()
    assert INTENDED_USE in text
    for part in (
        "| Annotated cases | 5 |",
        "| liver | 7 | 0.900 |",
        "* liver: only its largest part is kept",
    ):
        assert part in text
    assert "`<name>_seg.nii.gz`: 7 is liver, 2 is spleen." in text
    assert "python -m monai.bundle run --meta_file configs/metadata.json" in text
    metadata = json.loads((bundle / "configs/metadata.json").read_text())
    written = metadata["network_data_format"]["post_processed_outputs"]["pred"]
    assert written["channel_def"] == {"0": "background", "7": "liver", "2": "spleen"}
    assert set(metadata["required_packages_version"]) >= {"SimpleITK", "nibabel", "pytorch-ignite"}


def test_a_model_folder_describes_itself_as_monai_wants_it(model: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(json.loads((model / "configs/metadata.json").read_text()), SCHEMA)


def test_nothing_is_overwritten(model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert export_model(model, tmp_path / "empty") == tmp_path / "empty"
    before = (tmp_path / "empty/sslseg.json").stat().st_mtime_ns
    with pytest.raises(SSLSegError, match="There is something of this name already"):
        export_model(model, tmp_path / "empty")
    assert (tmp_path / "empty/sslseg.json").stat().st_mtime_ns == before


def test_what_cannot_be_finished_leaves_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_export.torch, "save", full)
    with pytest.raises(SSLSegError, match="No space left on device"):
        export_model(model, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_command_takes_a_model_of_a_cohort_or_a_folder(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: object) -> Any:
        monkeypatch.setattr(sys, "argv", ["sslseg", "export-model", *map(str, arguments)])
        with pytest.raises(SystemExit) as leaving:
            main()
        return leaving.value.code

    assert run("--model", model, "--output", tmp_path / "out") == 0
    assert (tmp_path / "out/configs/inference.json").exists()
    assert run("--model", tmp_path / "nowhere", "--output", tmp_path / "other") == 2
    assert "There is no model in this folder" in capsys.readouterr().err
