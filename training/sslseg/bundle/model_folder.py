"""Saving and loading a model.

```
sslseg.json            plan, networks, record of the run       models/model.pt   weights, nothing else
configs/metadata.json  inputs and outputs, for MONAI's tools   docs/README.md    what it is, how good it is
```

Loading runs nothing that a file says: the weights are read with `weights_only=True`, and the networks are
built by name from options that `build_network` checks.
"""

from __future__ import annotations

import os
import pickle
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sslseg.bundle.metadata import ModelRecord, bundle_metadata, readme
from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import locked, read_json, write_json, write_text
from sslseg.contract.postprocess import OrganRule
from sslseg.contract.strict import from_json, to_json
from sslseg.data.plan import Plan
from sslseg.networks import build_network
from sslseg.networks.base import NetworkSpec, SegmentationNetwork

SCHEMA = "sslseg.model"
VERSION = 1
FILE_NAME = "sslseg.json"
WEIGHTS = Path("models", "model.pt")

_COPY_AGAIN = "Copy the whole model folder again, or train anew."


@dataclass(frozen=True)
class TrainedModel:
    """A model ready to predict: networks in eval mode, whose mean softmax is the prediction."""

    name: str
    networks: list[SegmentationNetwork]
    plan: Plan
    record: ModelRecord
    rules: tuple[OrganRule, ...] = ()


@dataclass(frozen=True)
class ModelDescription:
    """sslseg.json as it stands on disk: all that a model is but its weights."""

    schema: str
    version: int
    networks: list[NetworkSpec]
    plan: Plan
    record: ModelRecord
    rules: tuple[OrganRule, ...] = ()


def save_model(
    folder: str | Path,
    *,
    networks: Sequence[SegmentationNetwork],
    plan: Plan,
    record: ModelRecord,
    rules: Sequence[OrganRule] = (),
) -> None:
    """Write a model folder in one step; an older model stays until the new one is complete.

    Args:
        folder: the model's own folder; its name is the model's.
        networks: their mean softmax is the prediction.
        plan: what they expect of an image.
        record: how they were trained.
        rules: what is done to a predicted label map afterwards.

    Raises:
        SSLSegError: the folder cannot be written.
    """
    folder = Path(folder)
    specs = [network.spec for network in networks]
    names = [spec.name for spec in specs]
    with _replaced_folder(folder) as new:
        write_json(
            new / FILE_NAME, to_json(ModelDescription(SCHEMA, VERSION, specs, plan, record, tuple(rules)))
        )
        write_json(new / "configs" / "metadata.json", bundle_metadata(folder.name, names, plan, record))
        write_text(new / "docs" / "README.md", readme(folder.name, names, plan, record, rules))
        _write_weights(new / WEIGHTS, networks)


def load_model(folder: str | Path, device: torch.device | str = "cpu") -> TrainedModel:
    """Read a model folder strictly.

    Raises:
        SSLSegError: a file is missing or damaged, or the version, a network or the weights do not fit.
    """
    folder = Path(folder)
    path = _description(folder)
    document = _read_document(path)
    states = _read_weights(folder / WEIGHTS, len(document.networks))
    networks = []
    for spec, state in zip(document.networks, states, strict=True):
        network = _rebuilt(spec, document.plan, path)
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise SSLSegError(
                f"The weights do not fit the network '{spec.name}' that the model names",
                file=folder / WEIGHTS,
                remedy=_COPY_AGAIN,
            ) from error
        networks.append(network.to(device).eval())
    return TrainedModel(folder.resolve().name, networks, document.plan, document.record, document.rules)


def read_record(folder: str | Path) -> dict[str, Any]:
    """How a model was trained, as JSON data with the fields of `ModelRecord`; its weights are not read.

    Raises:
        SSLSegError: there is no model, or its description is damaged or of an unknown version.
    """
    record = to_json(_read_document(_description(Path(folder))).record)
    assert isinstance(record, dict)
    return record


def read_description(folder: str | Path) -> ModelDescription:
    """What a model is and how it came about; its weights are not read.

    Raises:
        SSLSegError: there is no model, or its description is damaged or of an unknown version.
    """
    return _read_document(_description(Path(folder)))


def _description(folder: Path) -> Path:
    path = folder / FILE_NAME
    if not path.exists():
        raise SSLSegError(
            "There is no model in this folder",
            file=folder,
            remedy="Train one with 'sslseg train', or check the path.",
        )
    return path


def _read_document(path: Path) -> ModelDescription:
    data = read_json(path, remedy=_COPY_AGAIN)
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise SSLSegError("The file does not describe a model", file=path, remedy="Check the path.")
    if data.get("version") != VERSION:
        raise SSLSegError(
            f"The model has version {data.get('version')!r}, and this program reads version {VERSION}",
            file=path,
            remedy="Update the program.",
        )
    document = from_json(ModelDescription, data, file=path)
    if not document.networks:
        raise SSLSegError("The model names no network", file=path, remedy=_COPY_AGAIN)
    return document


def _rebuilt(spec: NetworkSpec, plan: Plan, path: Path) -> SegmentationNetwork:
    # Building draws initial weights; loading a model must not disturb the random numbers of a caller.
    with torch.random.fork_rng(devices=[]):
        try:
            network = build_network(spec.name, **spec.options)
            network.check_patch(plan.patch_size)
        except SSLSegError as error:
            raise SSLSegError(error.what, file=path, remedy="Update the program, or train anew.") from error
        except (TypeError, ValueError) as error:
            raise SSLSegError(
                f"The options of the network '{spec.name}' are not understood ({error})",
                file=path,
                remedy=_COPY_AGAIN,
            ) from error
    if (network.in_channels, network.out_channels) != (1, plan.classes):
        raise SSLSegError(
            f"The network '{spec.name}' takes {network.in_channels} channels and gives "
            f"{network.out_channels} classes, and the plan says 1 and {plan.classes}",
            file=path,
            remedy=_COPY_AGAIN,
        )
    return network


def _write_weights(path: Path, networks: Sequence[SegmentationNetwork]) -> None:
    states = [
        {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
        for network in networks
    ]
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        torch.save({"networks": states}, file)
        file.flush()
        os.fsync(file.fileno())


def _read_weights(path: Path, count: int) -> list[dict[str, torch.Tensor]]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise SSLSegError("The weights of the model are missing", file=path, remedy=_COPY_AGAIN) from error
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise SSLSegError(
            "The file is damaged, or holds more than weights", file=path, remedy=_COPY_AGAIN
        ) from error
    states = _by_network(content) if isinstance(content, dict) else None
    if not isinstance(states, list) or not all(isinstance(state, dict) for state in states):
        raise SSLSegError("The file does not hold the weights of a model", file=path, remedy=_COPY_AGAIN)
    if len(states) != count:
        raise SSLSegError(
            f"The file holds the weights of {len(states)} network(s), and the model names {count}",
            file=path,
            remedy=_COPY_AGAIN,
        )
    return states


def _by_network(content: dict[str, Any]) -> Any:
    """The state of each network; an exported model has one state for all, with keys such as `networks.0.head.bias`."""
    if "networks" in content:
        return content["networks"]
    states: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in content.items():
        found = re.fullmatch(r"networks\.(\d+)\.(.+)", key)
        if found is None:
            return None
        states.setdefault(int(found[1]), {})[found[2]] = value
    return [states[number] for number in sorted(states)]


@contextmanager
def _replaced_folder(folder: Path) -> Iterator[Path]:
    """Yield a new empty folder that takes the place of `folder` when the block ends without an error."""
    with locked(folder.parent / ".models.lock"):
        mark = f"{folder.name}-{secrets.token_hex(4)}"
        new, old = folder.with_name(f".writing-{mark}"), folder.with_name(f".replaced-{mark}")
        try:
            new.mkdir()
            yield new
            if folder.exists():
                folder.rename(old)
            new.rename(folder)
            _sync_folder(folder.parent)
        except OSError as error:
            raise SSLSegError(
                f"The model cannot be written ({error.strerror or error})",
                file=folder,
                remedy="Check that the folder is writable and the disk has free space.",
            ) from error
        finally:
            if old.exists() and not folder.exists():
                old.rename(folder)
            shutil.rmtree(new, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    """Make the renaming survive a crash of the machine, where the system lets folders be synchronised."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
