"""The functions for scripts: their examples run, and the package stays light until one is used."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_training import write_volumes

import sslseg
from sslseg import api
from sslseg.contract.errors import SSLSegError


@pytest.fixture
def names(tmp_path: Path) -> dict[str, object]:
    """What the examples speak of: two scans, of which one is drawn."""
    source = tmp_path / "source"
    source.mkdir()
    for number, name in enumerate(("a", "b")):
        write_volumes(source, name, number)
    drawn = source / "labels"
    (drawn / "b.nii.gz").unlink()
    return {"sslseg": sslseg, "folder": tmp_path, "scans": source / "images", "drawn": drawn}


def test_the_examples_run_one_after_the_other(
    names: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    finder, runner = doctest.DocTestFinder(exclude_empty=True), doctest.DocTestRunner()
    order = list(vars(api))
    tests = sorted(
        (test for test in finder.find(api, "api") if test.examples),
        key=lambda test: order.index(test.name.split(".")[-1]),
    )
    assert [test.name for test in tests] == [f"api.{name}" for name in order if name in sslseg.__all__]
    for test in tests:
        test.globs = dict(names)
        result = runner.run(test)
        assert result.failed == 0, test.name


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, sslseg; print([m for m in ('torch', 'numpy', 'SimpleITK', 'sslseg.api') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'segment'"):
        sslseg.segment  # noqa: B018


def test_a_setting_that_does_not_exist_is_a_sentence(names: dict[str, object]) -> None:
    folder = Path(str(names["folder"])) / "c"
    sslseg.create_cohort(folder, images=names["scans"], labels=names["drawn"], organs="liver=1,spleen=7")  # type: ignore[arg-type]
    with pytest.raises(SSLSegError, match="speed"):
        sslseg.train_model(folder, speed=3)


def test_a_job_that_fails_raises_its_sentence(names: dict[str, object]) -> None:
    folder = Path(str(names["folder"])) / "c"
    sslseg.create_cohort(folder, images=names["scans"], organs="liver=1,spleen=7", modality="CT")  # type: ignore[arg-type]
    with pytest.raises(SSLSegError, match="annotated"):
        sslseg.train_model(folder, "supervised", steps=1)
