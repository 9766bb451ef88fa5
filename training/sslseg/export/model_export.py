"""`sslseg export-model`: a trained model as a MONAI bundle that needs MONAI and not this program.

```
sslseg.json  LICENSE    models/model.pt   weights, nothing else      docs/README.md
configs/metadata.json   configs/inference.json                       scripts/       the code of a prediction
```

`scripts/` holds the components that `inference.json` names, and an unchanged copy of the modules of this package that
they call, in `scripts/sslseg`.
"""

from __future__ import annotations

import ast
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from sslseg import __version__
from sslseg.bundle.metadata import readme
from sslseg.bundle.model_folder import FILE_NAME, WEIGHTS, TrainedModel, load_model
from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import write_json, write_text
from sslseg.export.bundle_config import exported_metadata, inference_config

PACKAGE = Path(__file__).parents[1]
_SCRIPTS = Path(__file__).with_name("bundle_scripts")
_NETWORKS = "sslseg.networks"

_USE = """
## Use with MONAI

From this folder, with the packages of `required_packages_version` in `configs/metadata.json`:

```
python -m monai.bundle run --meta_file configs/metadata.json --config_file configs/inference.json \\
    --dataset_dir /path/to/volumes --output_dir /path/to/label_maps
```

It predicts every `.nii` and `.nii.gz` file in `dataset_dir` and writes `<name>_seg.nii.gz`: {values}.
The network's output is the mean probability of each class, in float32; `scripts/components.py` holds the steps
before and after it. They call the code of sslseg {version} in `scripts/sslseg`, so the label maps are those of
`sslseg predict --precision float32` within rounding. A whole volume of probabilities is kept in memory.

sslseg itself predicts with this folder too: `sslseg predict --model FOLDER --input ... --output DIR`. It never runs the
scripts or the expressions in `configs`.

## Licence

The code in `scripts` is under the Apache License 2.0, see `LICENSE`. It says nothing about the weights: they belong to
whoever trained them, and the conditions of the training data may apply.
"""


def export_model(model_folder: str | Path, output: str | Path) -> Path:
    """Write a model folder as a bundle for MONAI's commands, in one step.

    Args:
        model_folder: a trained model.
        output: the folder that becomes the bundle; it must not be there yet, or be empty.

    Returns:
        The bundle.

    Raises:
        SSLSegError: the model cannot be read, or the folder holds something or cannot be written.
    """
    model_folder, output = Path(model_folder), Path(output).absolute()
    model = load_model(model_folder)
    specs = [network.spec for network in model.networks]
    with _new_folder(output) as folder:
        shutil.copyfile(model_folder / FILE_NAME, folder / FILE_NAME)
        metadata = exported_metadata(model.name, specs, model.plan, model.record, model.rules)
        write_json(folder / "configs" / "metadata.json", metadata)
        write_json(folder / "configs" / "inference.json", inference_config(model.plan, specs))
        names = [spec.name for spec in specs]
        values = ", ".join(f"{label.value} is {label.name}" for label in model.plan.labels)
        text = readme(model.name, names, model.plan, model.record, model.rules)
        write_text(folder / "docs" / "README.md", text + _USE.format(version=__version__, values=values))
        shutil.copyfile(_SCRIPTS / "LICENSE", folder / "LICENSE")
        _write_weights(model, folder / WEIGHTS)
        _write_scripts(folder / "scripts")
    return output


def _write_weights(model: TrainedModel, path: Path) -> None:
    """The state of `scripts.components.MeanOfNetworks`, as MONAI's CheckpointLoader takes it."""
    states = torch.nn.ModuleList(model.networks).state_dict()
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        torch.save({f"networks.{key}": value.cpu().contiguous() for key, value in states.items()}, file)
        file.flush()
        os.fsync(file.fileno())


def _write_scripts(folder: Path) -> None:
    components = _SCRIPTS / "components.py"
    write_text(folder / "__init__.py", '"""The code of a prediction."""\n')
    write_text(folder / components.name, _renamed(components.read_text(encoding="utf-8")))
    own = folder / "sslseg"
    write_text(own / "__init__.py", f'"""The part of sslseg {__version__} that a prediction needs."""\n')
    # Networks are loaded by name, so the imports alone do not tell.
    networks = [f"{_NETWORKS}.{path.stem}" for path in (PACKAGE / "networks").glob("*.py")]
    for module in _needed({*_imported(components), *networks}):
        path = _path(module)
        assert path is not None
        target = own / path.relative_to(PACKAGE)
        write_text(target, _renamed(path.read_text(encoding="utf-8")))


def _needed(modules: set[str]) -> set[str]:
    """The modules, the packages they lie in, and all that these import when they are loaded."""
    found: set[str] = set()
    waiting = set(modules)
    while waiting:
        module = waiting.pop()
        path = _path(module)
        if module in found or module == "sslseg" or path is None:
            continue
        found.add(module)
        waiting |= {module.rpartition(".")[0], *_imported(path)}
    return found


def _imported(path: Path) -> set[str]:
    """Modules of this package that a file imports when it is loaded, not those that some function imports."""
    modules = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "sslseg":
            modules |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return modules


def _path(module: str) -> Path | None:
    """File of a module of this package; None for what is a name in a module."""
    place = PACKAGE.joinpath(*module.split(".")[1:])
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


def _renamed(source: str) -> str:
    return re.sub(r"^(\s*)(from|import) sslseg\b", r"\1\2 scripts.sslseg", source, flags=re.MULTILINE)


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `folder` when the block ends without an error."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise SSLSegError(
            "There is something of this name already", file=folder, remedy="Choose another folder."
        )
    temporary = folder.with_name(f".writing-{folder.name}-{secrets.token_hex(4)}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if folder.exists():
            folder.rmdir()
        temporary.rename(folder)
    except OSError as error:
        raise SSLSegError(
            f"The model cannot be written ({error.strerror or error})",
            file=folder,
            remedy="Check that the folder is writable and the disk has free space.",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
