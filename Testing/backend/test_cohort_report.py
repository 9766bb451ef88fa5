"""The report of a cohort: one page that stands alone, names nobody, and says what it is worth."""

from __future__ import annotations

import hashlib
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from tiny_model import add_model, write_prediction
from tiny_training import SIDE, make_cohort

from sslseg.bundle.metadata import Annotation, ValidationPoint
from sslseg.cli.app import main
from sslseg.contract.cohort import Cohort, ReviewState, Use
from sslseg.contract.errors import SSLSegError
from sslseg.contract.jobs import Job
from sslseg.contract.labels import Label
from sslseg.contract.models import case_digest
from sslseg.contract.quality import (
    CaseQuality,
    OrganQuality,
    RankedCase,
    Ranking,
    Verdict,
    write_quality,
    write_ranking,
)
from sslseg.contract.settings import TrainSettings
from sslseg.report.cohort_report import write_cohort_report
from sslseg.report.content import CaseCard, OrganCard, OrganVolumes
from sslseg.report.model_story import tell_story
from sslseg.report.volume_plots import volumes_figure

SHAPE = (SIDE, SIDE, SIDE)


def a_cohort(folder: Path) -> Cohort:
    """Two annotated cases, of which the model has learned from one; three others; all but the last predicted."""
    made = make_cohort(folder, annotated=2, unlabelled=3)
    add_model(
        made, "first", tuple(made.labels),
        dice={"liver": 0.8}, validation=[ValidationPoint(1, {"liver": 0.8})], validation_cases=1, finished=1.7e9,
        annotations=[Annotation(case_digest("case_0"), "x", "training")],
        settings={"learning_rate": 0.003, "model": "first", "method_settings": {"ema": 0.99}},
    )  # fmt: skip
    with Cohort.edit(made.folder) as edited:
        edited.case("case_1").use = Use.TEST
        edited.case("case_3").review = ReviewState.FLAGGED
    for number in range(4):
        voxels = np.zeros(SHAPE, np.uint8)
        voxels[4:12, 4:12, 4 + number : 12] = 1
        voxels[14:20, 14:20, 14:20] = 7
        write_prediction(made, "first", f"case_{number}", voxels)
    return Cohort.read(made.folder)


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    return a_cohort(tmp_path / "cohort")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of that cohort as it is."""
    return written(a_cohort(tmp_path_factory.mktemp("clinic") / "cohort"), large=2)


def a_card(case: str, verdict: Verdict, *reasons: str) -> CaseQuality:
    organs = [
        OrganQuality("liver", verdict, list(reasons), 1.0, 2, 0.8, False, 0.3, 0.2),
        OrganQuality("spleen", Verdict.FINE, [], 1.0, 1, 1.0, False, 0.1, 0.1),
    ]
    return CaseQuality(
        case, "first", verdict, ["left and right look swapped"] if reasons else [], organs, 0.4
    )


def written(cohort: Cohort, *, large: int = 0) -> str:
    path = cohort.folder / "report.html"
    write_cohort_report(Cohort.read(cohort.folder), "first", path, large=large)
    return path.read_text(encoding="utf-8")


def words(html: str) -> str:
    bare = re.sub(r"<style>.*?</style>", " ", html, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", bare))


def in_grid(html: str) -> list[str]:
    return re.findall(r"<article.*?<h3>(.*?)</h3>", html, flags=re.S)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [
            value or "" for name, value in attrs if name in {"src", "srcset", "href", "data", "action"}
        ]


def test_it_is_one_page_without_scripts_links_or_paths(page: str) -> None:
    parsed = _Page()
    parsed.feed(page)
    assert parsed.links
    assert all(link.startswith("data:image/") for link in parsed.links)
    assert "script" not in parsed.tags
    assert "clinic" not in page


def test_every_case_is_there_once_the_unpredicted_last(page: str) -> None:
    assert sorted(in_grid(page)) == [f"case_{number}" for number in range(5)]
    assert in_grid(page)[-1] == "case_4"
    assert page.count('class="overlay"') == 2
    text = words(page)
    assert "This model has not segmented 1 case." in text
    assert "The model has learned from 1 case" in text
    assert "case_3 flagged" in text


def test_verdicts_order_the_cases_and_come_with_their_reasons(cohort: Cohort) -> None:
    write_quality(cohort, a_card("case_3", Verdict.LIKELY_WRONG, "nothing like any liver that was drawn"))
    write_quality(cohort, a_card("case_2", Verdict.LOOK, "two pieces"))
    write_quality(cohort, a_card("case_0", Verdict.FINE))
    html = written(cohort)
    assert in_grid(html)[:3] == ["case_3", "case_2", "case_0"]
    text = words(html)
    assert "left and right look swapped" in text
    assert "liver: nothing like any liver that was drawn" in text
    assert "1 likely wrong, 1 to look at, 1 fine" in text
    assert re.search(r'<article class="likely-wrong">', html)
    assert '<label for="f-wrong">likely wrong 1</label>' in html


def test_a_ranking_orders_the_cases_and_names_are_text(cohort: Cohort) -> None:
    with Cohort.edit(cohort.folder) as edited:
        edited.name = "<b>abdomen</b>"
    order = ["case_2", "case_0", "case_3", "case_1"]
    ranked = [RankedCase(case, 1 - n / 9, "review", "because", 0.5, 0.5) for n, case in enumerate(order)]
    write_ranking(cohort, Ranking("first", ranked))
    html = written(cohort)
    assert in_grid(html) == [*order, "case_4"]
    assert "<b>abdomen" not in html


def test_dice_is_of_cases_the_model_has_not_learned_from(page: str) -> None:
    text = words(page)
    assert "Dice is over 1 case whose annotation the model has not learned from; so few cases say" in text
    assert re.search(r"case_1 test case, annotated: liver, spleen · Dice 0\.\d\d", text)
    assert text.count("· Dice") == 1


def test_it_says_so_when_nothing_was_compared(cohort: Cohort) -> None:
    with Cohort.edit(cohort.folder) as edited:
        edited.cases.remove(edited.case("case_1"))
    add_model(cohort, "first", tuple(cohort.labels))
    assert "nothing says how good it is on other patients" in words(written(cohort))


def test_volumes_are_those_of_the_files(page: str) -> None:
    # Of 8 x 8 x 8 voxels of 0.064 ml, and less by a slab of 64 voxels from case to case.
    voxels = [8 * 8 * (8 - number) for number in range(4)]
    median = (voxels[1] + voxels[2]) / 2 * 0.064
    assert re.search(rf"liver \S+ . \S+ 2 {median:.1f} 4", words(page))
    assert re.search(r"spleen \S+ . \S+ 2 13\.8 4", words(page))


def test_an_organ_the_model_does_not_know_is_not_called_missing(cohort: Cohort) -> None:
    add_model(cohort, "first", (cohort.labels[0],))
    assert re.search(r"spleen \S+ . \S+ 2 . 0", words(written(cohort)))


def test_it_tells_where_the_model_came_from(cohort: Cohort, page: str) -> None:
    for part in (
        "first this report",
        "1 annotated",
        "Not a medical device",
        "learning rate 0.003",
        "ema 0.99",
    ):
        assert part in words(page), part
    weights = (cohort.model_folder("first") / "models/model.pt").read_bytes()
    told = tell_story(cohort, "first").provenance
    assert told["SHA-256 of the weights"] == hashlib.sha256(weights).hexdigest()


def test_curves_come_from_the_job_and_leave_the_abandoned_steps_out(cohort: Cohort) -> None:
    job = Job.create(cohort.folder, TrainSettings("supervised", "first"))
    for step, loss, part in (
        (1, 9.0, 1),
        (2, 9.0, 1),
        (1, 3.0, 2),
        (5, 2.0, 2),
        (9, 1.0, 2),
        (5, 1.5, 2),
        (6, 1.2, 2),
    ):
        job.events.write(
            "progress", step=step, steps=9, seconds_left=0, part=part, parts=2, losses={"total": loss}
        )
    assert tell_story(cohort, "first").method.loss == [(1.0, 3.0), (5.0, 1.5), (6.0, 1.2)]


def test_a_case_that_cannot_be_read_has_its_reason_instead_of_a_picture(cohort: Cohort) -> None:
    image = cohort.image_path(cohort.case("case_2"))
    image.write_bytes(image.read_bytes()[:200])
    html = written(cohort)
    assert sorted(in_grid(html)) == [f"case_{number}" for number in range(5)]
    assert "The files of 1 case could not be read; the cards say why." in words(html)
    assert html.count('<div class="blank">') == 1
    assert image.name not in html


def test_the_command_writes_it_and_says_how_large_it_is(
    cohort: Cohort, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sslseg", "report", str(cohort.folder), "--model", "first"])
    with pytest.raises(SystemExit) as leaving:
        main()
    assert leaving.value.code == 0
    assert re.search(r"reports/first\.html, 5 cases, 0\.\d MB", capsys.readouterr().out)
    assert (cohort.folder / "reports/first.html").stat().st_size > 10_000


def test_a_model_that_is_not_there_is_refused(cohort: Cohort) -> None:
    with pytest.raises(SSLSegError, match=r"no model 'second'.*It has: first"):
        write_cohort_report(cohort, "second", cohort.folder / "report.html")


def test_a_card_shows_the_worst_reasons_and_counts_the_rest() -> None:
    liver, spleen = Label("liver", 1, (1, 2, 3)), Label("left_spleen", 2, (1, 2, 3))
    organs = [
        OrganCard(liver, 1.0, "predicted", "look", ["a little large"]),
        OrganCard(spleen, 1.0, "predicted", "likely wrong", ["one", "two", "three"]),
    ]
    card = CaseCard("c", "", "likely wrong", ["swapped"], organs)
    assert card.headlines == ["swapped", "left spleen: one", "and 2 more"]


def test_volumes_of_any_organ_can_be_drawn() -> None:
    label = Label("liver", 1, (1, 2, 3))
    organs = [
        OrganVolumes(label, [10.0, 30.0], [(12.0, "fine"), (50.0, "likely wrong"), (0.0, None)]),
        OrganVolumes(label, [], [(3.0, "look")]),
        OrganVolumes(label, [5.0], []),
    ]
    figure = volumes_figure(organs)
    assert len([axes for axes in figure.axes if axes.get_visible()]) == 3
    assert figure.axes[0].get_xlim()[1] > 50
