"""The unattended loop: rounds are played, kept, and gone on with."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_training import make_cohort, tiny_settings

from sslseg.contract.cohort import Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.jobs import Job, JobState
from sslseg.data.annotating import annotate
from sslseg.jobs.runner import run_job
from sslseg.loop.unattended import Round, run_loop

ANNOTATOR = """import shutil, sys
from pathlib import Path
cohort, output, *cases = sys.argv[1:]
with open(Path(cohort) / "asked.txt", "a") as file:
    file.write(" ".join(cases) + "\\n")
for case in cases:
    truth = Path(cohort) / "truth" / f"{case}.nii.gz"
    if truth.exists():
        shutil.copy(truth, output)
"""


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """One annotated case and four others, whose label maps an expert knows."""
    folder = tmp_path / "cohort"
    made = make_cohort(folder, annotated=5, unlabelled=0)
    shutil.copytree(folder / "labels", folder / "truth")
    with Cohort.edit(folder) as edited:
        for case in edited.cases[1:]:
            case.label, case.annotated = None, []
    for case in made.cases[1:]:
        (folder / "labels" / f"{case.id}.nii.gz").unlink()
    (folder / "annotator.py").write_text(ANNOTATOR)
    return folder


def _loop(cohort: Path, run: Callable[[Job], JobState] = run_job, **changes: int) -> list[Round]:
    numbers = {"rounds": 2, "add": 2, **changes}
    return run_loop(
        cohort, tiny_settings(model="loop", steps=1), [str(cohort / "annotator.py")], run=run, **numbers
    )


def test_rounds_annotate_what_was_ranked_first_and_train_on_from_the_model_before(cohort: Path) -> None:
    played = _loop(cohort)
    read = Cohort.read(cohort)
    assert read.models() == ["loop-1", "loop-2", "loop-3"]
    assert all(case.is_annotated for case in read.cases)
    asked = [line.split() for line in (cohort / "asked.txt").read_text().splitlines()]
    assert asked == [entry.asked for entry in played] == [entry.annotated for entry in played]
    trained = [job.settings for job in Job.all(cohort) if job.description.command == "train"]
    assert [settings.start_from for settings in trained] == [None, "loop-1", "loop-2"]


def test_a_loop_that_was_stopped_goes_on_with_the_same_call(cohort: Path) -> None:
    jobs = 0

    def stopped_at_the_third(job: Job) -> JobState:
        nonlocal jobs
        jobs += 1
        return JobState.CANCELLED if jobs == 3 else run_job(job)

    with pytest.raises(SSLSegError, match="goes on from here"):
        _loop(cohort, run=stopped_at_the_third)
    assert Cohort.read(cohort).models() == ["loop-1"]
    _loop(cohort)
    assert Cohort.read(cohort).models() == ["loop-1", "loop-2", "loop-3"]
    assert len((cohort / "asked.txt").read_text().splitlines()) == 2
    before = len(Job.all(cohort))
    assert len(_loop(cohort)) == 2
    assert len(Job.all(cohort)) == before


def test_a_case_the_annotator_leaves_out_is_told_and_the_others_count(cohort: Path) -> None:
    hidden = next(iter((cohort / "truth").glob("case_3*")))
    hidden.unlink()
    told = []
    played = run_loop(
        cohort, tiny_settings(model="loop", steps=1), [str(cohort / "annotator.py")],
        rounds=1, add=4, run=run_job, announce=told.append,
    )  # fmt: skip
    assert played[0].refused == {"case_3": "No label map was written."}
    assert sorted(played[0].annotated) == ["case_1", "case_2", "case_4"]
    assert any("case_3 was not annotated" in sentence for sentence in told)


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        ("raise SystemExit(3)", "exit code 3"),
        ("", "annotated none of 2"),
        (None, "cannot be started|exit code 2"),
    ],
)
def test_an_annotator_that_fails_stops_the_loop_with_a_sentence(
    cohort: Path, program: str | None, sentence: str
) -> None:
    script = cohort / "annotator.py"
    if program is None:
        script.unlink()
    else:
        script.write_text(program)
    with pytest.raises(SSLSegError, match=sentence):
        _loop(cohort)
    assert Cohort.read(cohort).models() == ["loop-1"]


def test_more_rounds_than_cases_are_a_sentence(cohort: Path) -> None:
    with pytest.raises(SSLSegError, match="Every case is annotated"):
        _loop(cohort, rounds=2, add=4)


def test_label_maps_from_elsewhere_are_checked_before_they_become_annotations(cohort: Path) -> None:
    (cohort / "bad.nii.gz").write_bytes(b"no label map")
    refused = annotate(cohort, {"case_1": cohort / "truth/case_1.nii.gz", "case_2": cohort / "bad.nii.gz"})
    assert [name for name, _ in refused] == ["case_2"]
    read = Cohort.read(cohort)
    assert (read.case("case_1").is_annotated, read.case("case_2").is_annotated) == (True, False)
