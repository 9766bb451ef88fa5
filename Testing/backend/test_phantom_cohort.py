"""A cohort of phantoms is complete, can be moved, and is made without the packages that train."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sslseg.contract.cohort import Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.data.volumes import read_label_map, read_volume
from sslseg.phantoms.cohort import write_phantom_cohort
from sslseg.phantoms.phantom import PHANTOM_LABELS


@pytest.fixture(scope="module")
def a_moved_cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_cohort(folder / "made", cases=3, annotated=1)
    return Cohort.read((folder / "made").rename(folder / "moved"))


def test_the_first_phantoms_are_annotated_and_the_others_are_not(a_moved_cohort: Cohort) -> None:
    names = [label.name for label in PHANTOM_LABELS]
    assert [case.annotated for case in a_moved_cohort.cases] == [names, [], []]
    assert a_moved_cohort.modality == "CT"
    assert list(a_moved_cohort.labels) == list(PHANTOM_LABELS)


def test_volumes_and_label_maps_lie_in_the_cohort(a_moved_cohort: Cohort) -> None:
    first = a_moved_cohort.cases[0]
    label = a_moved_cohort.label_path(first)
    assert label is not None
    volume = read_volume(a_moved_cohort.image_path(first))
    organs = read_label_map(label, allowed=a_moved_cohort.labels.values)
    assert volume.GetSize() == organs.GetSize()
    assert all(not Path(case.image).is_absolute() for case in a_moved_cohort.cases)


def test_more_annotated_phantoms_than_phantoms_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SSLSegError, match="4 of 3 phantoms"):
        write_phantom_cohort(tmp_path, cases=3, annotated=4)
    assert not list(tmp_path.iterdir())


def test_the_command_makes_a_cohort_without_loading_torch(tmp_path: Path) -> None:
    script = (
        "import sys; sys.argv[1:] = ['phantoms', sys.argv[1], '--cases', '2', '--annotated', '1']\n"
        "import sslseg.cli.app\n"
        "try: sslseg.cli.app.main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules"
    )
    process = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "new")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    )
    assert process.returncode == 0, process.stderr
    assert "2 phantoms, 1 of them annotated" in process.stdout
    assert len(Cohort.read(tmp_path / "new").cases) == 2
