"""The cohort folder: strict reading, atomic locked writing."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from sslseg.contract import files
from sslseg.contract.cohort import AnnotatedSlices, Case, Cohort, ReviewState, Use
from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import atomic_path, locked, read_json, write_text
from sslseg.contract.labels import Label, LabelTable, parse_labels


@pytest.fixture
def a_cohort(tmp_path: Path) -> Cohort:
    cohort = Cohort.create(
        tmp_path / "cohort", name="abdomen", modality="CT", labels=parse_labels("liver=1,spleen=5")
    )
    (cohort.folder / "images").mkdir()
    for number in (1, 2):
        (cohort.folder / f"images/case_{number}.nii.gz").touch()
    with Cohort.edit(cohort.folder) as edited:
        edited.cases += [Case(f"case_{n}", f"images/case_{n}.nii.gz") for n in (1, 2)]
    return Cohort.read(cohort.folder)


def _change(cohort: Cohort, **changes: object) -> Path:
    path = cohort.folder / "cohort.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path


def test_what_is_written_is_read_again(a_cohort: Cohort) -> None:
    with Cohort.edit(a_cohort.folder) as cohort:
        case = cohort.case("case_2")
        case.annotated = ["liver"]
        case.slices = {"liver": AnnotatedSlices("k", [3, 7])}
        case.use = Use.TEST
        case.review = ReviewState.FLAGGED
        case.organ_review = {"spleen": ReviewState.COMPLETED}
    read = Cohort.read(a_cohort.folder)
    assert read.cases == cohort.cases
    assert read.labels == a_cohort.labels
    assert [label.value for label in read.labels] == [1, 5]


def test_a_cohort_of_the_first_version_keeps_its_slices_for_every_annotated_organ(a_cohort: Cohort) -> None:
    slices = {"axis": "j", "indices": [4, 5]}
    cases = [
        {"id": "a", "image": "a.nii", "label": "l.nii", "annotated": ["liver", "spleen"], "slices": slices},
        {"id": "b", "image": "b.nii", "annotated": ["liver"], "slices": None},
    ]
    _change(a_cohort, version=1, cases=cases)
    with Cohort.edit(a_cohort.folder) as cohort:
        both = AnnotatedSlices("j", [4, 5])
        assert [case.slices for case in cohort.cases] == [{"liver": both, "spleen": both}, {}]
    assert json.loads((a_cohort.folder / "cohort.json").read_text())["version"] == 2
    assert Cohort.read(a_cohort.folder, check_files=False).cases == cohort.cases


def test_a_second_cohort_in_the_same_folder_is_refused(a_cohort: Cohort) -> None:
    with pytest.raises(SSLSegError, match=r"cohort\.json.*cohort here already.*another folder"):
        Cohort.create(a_cohort.folder, name="x", modality="CT", labels=a_cohort.labels)


def test_a_folder_without_a_cohort_is_named(tmp_path: Path) -> None:
    with pytest.raises(SSLSegError, match=r"no cohort in this folder.*sslseg init"):
        Cohort.read(tmp_path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"version": 99}, "version 99.*reads versions up to 2.*Update"),
        ({"schema": "something"}, "not a cohort"),
        ({"modality": "PET"}, "modality must be 'CT' or 'MR', not 'PET'"),
        ({"labels": []}, "No organ is declared"),
        ({"surprise": 1}, "surprise is not a known field"),
        ({"cases": [{"id": "a"}]}, r"cases\[0\].image is missing"),
        ({"cases": [{"id": "a/b", "image": "x"}]}, "'a/b' cannot be a case id"),
        ({"cases": [{"id": "a", "image": 3}]}, r"cases\[0\].image must be a text, not 3"),
        ({"cases": [{"id": "a", "image": "x"}, {"id": "a", "image": "y"}]}, "'a' occurs twice"),
        ({"cases": [{"id": "a", "image": "x", "annotated": ["heart"]}]}, "names the organ 'heart'"),
        ({"cases": [{"id": "a", "image": "x", "slices": {"heart": {"axis": "k", "indices": [1]}}}]}, "organ 'heart'"),
        ({"cases": [{"id": "a", "image": "x", "review": "maybe"}]}, "must be 'not_started' or"),
        ({"labels": [{"name": n, "value": 1, "color": [1, 2, 3]} for n in "ab"]},
         "'a' and 'b' both have the value 1.*value of its own"),
        ({"labels": [{"name": "a", "value": 255, "color": [1, 2, 3]}]}, "255.*between 1 and 254"),
        ({"labels": [{"name": "a", "value": 1, "color": [1, 2]}]}, "a list of 3 values"),
    ],
)  # fmt: skip
def test_refuses_what_does_not_fit_and_names_the_file(a_cohort: Cohort, changes: dict, sentence: str) -> None:
    path = _change(a_cohort, **changes)
    with pytest.raises(SSLSegError, match=sentence) as caught:
        Cohort.read(a_cohort.folder)
    assert str(path) in str(caught.value)


def test_damaged_json_is_named_with_its_line(a_cohort: Cohort) -> None:
    (a_cohort.folder / "cohort.json").write_text('{\n "schema": ')
    with pytest.raises(SSLSegError, match="not valid JSON at line 2"):
        Cohort.read(a_cohort.folder)


def test_a_missing_image_is_named_unless_files_are_not_asked_for(a_cohort: Cohort) -> None:
    (a_cohort.folder / "images/case_2.nii.gz").unlink()
    with pytest.raises(SSLSegError, match=r"1 file.*missing.*case_2\.nii\.gz"):
        Cohort.read(a_cohort.folder)
    assert [p.name for p in Cohort.read(a_cohort.folder, check_files=False).missing_files()] == [
        "case_2.nii.gz"
    ]


def test_a_model_that_is_being_written_or_named_by_hand_is_no_model_yet(a_cohort: Cohort) -> None:
    for name in ("second", "first", ".writing-first-1f2e3d4c", "my model"):
        (a_cohort.folder / "models" / name).mkdir(parents=True)
        (a_cohort.folder / "models" / name / "sslseg.json").touch()
    assert a_cohort.models() == ["first", "second"]


def test_an_edit_that_fails_changes_nothing(a_cohort: Cohort) -> None:
    before = (a_cohort.folder / "cohort.json").read_bytes()
    with pytest.raises(RuntimeError), Cohort.edit(a_cohort.folder) as cohort:
        cohort.cases.clear()
        raise RuntimeError
    with pytest.raises(SSLSegError, match="occurs twice"), Cohort.edit(a_cohort.folder) as cohort:
        cohort.cases.append(cohort.cases[0])
    assert (a_cohort.folder / "cohort.json").read_bytes() == before


def test_two_writers_at_once_lose_nothing_and_a_reader_never_sees_half_a_file(a_cohort: Cohort) -> None:
    writer = textwrap.dedent(
        """
        import sys
        from sslseg.contract.cohort import Case, Cohort
        folder, name = sys.argv[1:]
        for number in range(60):
            with Cohort.edit(folder) as cohort:
                # A long provenance makes half a file likely, were it ever visible.
                long = {"x": "y" * 2000}
                cohort.cases.append(Case(f"{name}_{number}", "images/case_1.nii.gz", provenance=long))
        """
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", writer, str(a_cohort.folder), name])
        for name in ("left", "right")
    ]
    seen = reads = 0
    while any(process.poll() is None for process in writers):
        count = len(Cohort.read(a_cohort.folder, check_files=False).cases)
        assert count >= seen
        seen, reads = count, reads + 1
    assert all(process.returncode == 0 for process in writers)
    assert reads > 10
    ids = {case.id for case in Cohort.read(a_cohort.folder).cases}
    assert ids >= {f"{name}_{number}" for name in ("left", "right") for number in range(60)}
    assert len(ids) == 122


def test_a_lock_dies_with_its_holder(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    script = (
        f"from sslseg.contract.files import locked\nwith locked({str(lock)!r}): print(1, flush=True); input()"
    )
    holder = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline()
    with pytest.raises(SSLSegError, match="Another program"), locked(lock, timeout=0.1):
        pass
    holder.kill()
    holder.wait()
    with locked(lock, timeout=5):
        pass


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        assert temporary.name.endswith(".nii.gz")
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_where_an_open_file_cannot_be_replaced_nor_read_one_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, refusals = tmp_path / "a.json", 3

    def refusing(action: Any) -> Any:
        def method(*arguments: Any, **options: Any) -> Any:
            nonlocal refusals
            refusals -= 1
            if refusals >= 0:
                raise PermissionError(13, "The process cannot access the file")
            return action(*arguments, **options)

        return method

    for name in ("replace", "read_text"):
        monkeypatch.setattr(Path, name, refusing(getattr(Path, name)))
    with pytest.raises(SSLSegError, match="cannot access"):
        write_text(path, "[0]")
    monkeypatch.setattr(files, "PATIENCE", 5.0)
    write_text(path, "[1]")
    refusals = 3
    assert read_json(path) == [1]


def test_a_full_disk_is_a_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(SSLSegError, match=r"No space left on device.*free space"),
        atomic_path(tmp_path / "a"),
    ):
        Path("/dev/full").write_text("x")


def test_labels_from_the_command_line_and_from_files(tmp_path: Path) -> None:
    decathlon = tmp_path / "dataset.json"
    decathlon.write_text(json.dumps({"labels": {"0": "background", "1": "liver", "2": "spleen"}}))
    nnunet = tmp_path / "nnunet.json"
    nnunet.write_text(json.dumps({"labels": {"background": 0, "liver": 1, "spleen": 2, "ignore": 255}}))
    table = tmp_path / "labels.csv"
    table.write_text("name,value,red,green,blue\nliver,1,10,20,30\nspleen,2,1,2,3\n")
    for text in ("liver=1, spleen=2", str(decathlon), str(nnunet), str(table)):
        assert [(label.name, label.value) for label in parse_labels(text)] == [("liver", 1), ("spleen", 2)]
    assert parse_labels(str(table))[0].color == (10, 20, 30)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("liver", "'liver' does not declare an organ.*name=value"),
        ("liver=1,Liver=2", "declared twice"),
        ("liver=0", "between 1 and 254"),
        ("", "No organ"),
        ("missing.json", "missing.json.*does not exist"),
    ],
)
def test_bad_labels_are_sentences(text: str, sentence: str) -> None:
    with pytest.raises(SSLSegError, match=sentence):
        parse_labels(text)


def test_nnunet_regions_are_refused_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"labels": {"background": 0, "whole tumour": [1, 2]}}))
    with pytest.raises(SSLSegError, match="Regions of several values are not supported"):
        parse_labels(str(path))


def test_organs_are_found_however_they_are_spelt() -> None:
    table = LabelTable([Label("Left Kidney", 7, (1, 2, 3))])
    assert table.find("left_kidney").value == table.find("LEFT-KIDNEY").value == 7
    with pytest.raises(SSLSegError, match=r"no organ called 'heart'.*Known are: Left Kidney"):
        table.find("heart")
