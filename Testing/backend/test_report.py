"""The report is one file that stands alone, says what it counts and shows every case the right way round."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from sslseg.contract.labels import Label
from sslseg.contract.words import duration
from sslseg.report.content import MethodResult, ReportCase, ReportInput, Statistic
from sslseg.report.figures import (
    bar_figure,
    dice_vs_steps_figure,
    loss_figure,
    save_bar_comparison,
    save_dice_vs_steps_plot,
    validation_figure,
)
from sslseg.report.html import plain, render_report, write_report
from sslseg.report.overlays import case_figure, intensity_window, save_case_figure, telling_slice

LABELS = (Label("liver", 3, (220, 30, 30)), Label("left_kidney", 7, (30, 220, 30)))
SHAPE = (10, 12, 16)


def a_case(name: str = "case_1", **changes) -> ReportCase:
    random = np.random.default_rng(0)
    image = np.full(SHAPE, -1000, np.int16)
    image[1:-1, 1:-1, 1:-1] = random.integers(0, 100, (8, 10, 14))
    reference = np.zeros(SHAPE, np.uint8)
    reference[2:8, 3:9, 2:7] = 3
    reference[5:8, 6:9, 9:13] = 7
    values = {
        "image": image,
        "prediction": np.roll(reference, 1, axis=2),
        "reference": reference,
        "uncertainty": random.random(SHAPE, np.float32),
        "spacing": (5.0, 4.0, 4.0),
        "note": "look at the lower pole",
        "scores": {"liver": 0.81, "left_kidney": None},
    }
    return ReportCase(name, **(values | changes))


NINE_LIVERS = Statistic(0.8, 0.1, 9)


def a_method(name: str = "Supervised", *, liver: Statistic = NINE_LIVERS) -> MethodResult:
    return MethodResult(
        name,
        "Learns from annotated scans alone.",
        {"learning_rate": 0.01, "patch": (48, 64, 64), "amp": False},
        seconds=125,
        loss=[(step, 2.0 / (1 + step)) for step in range(0, 100, 10)],
        val_dice={"liver": [(50, 0.4), (100, 0.7)], "left_kidney": [(50, float("nan")), (100, 0.2)]},
        summary={
            "liver": {"dice": liver, "hd95": Statistic(7.5, 2.0, 9)},
            "left_kidney": {"dice": Statistic(0.6, 0.2, 9), "hd95": Statistic(12.5, 3.0, 6)},
        },
    )


def a_report(**changes) -> ReportInput:
    values = {
        "title": "Six organs & more",
        "labels": LABELS,
        "facts": {"cases": 12, "annotated": 3},
        "methods": [a_method(), a_method("Mean teacher", liver=Statistic(0.9, 0.05, 9))],
        "cases": [a_case("case_1"), a_case("case_2")],
        "warnings": ["These are phantoms, not patients."],
    }
    return ReportInput(**(values | changes))


class _Links(HTMLParser):
    """Every attribute through which a page may fetch something."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        names = {"src", "srcset", "href", "data", "poster", "action", "background"}
        self.found += [value or "" for name, value in attrs if name in names]


def text_of(html: str) -> str:
    """What a reader sees: no tags, no styles, single spaces."""
    without_style = re.sub(r"<style>.*?</style>", " ", html, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", without_style))


def overlay(case: ReportCase, panel: int) -> np.ndarray:
    """One panel of the case's figure as (rows, columns, 3)."""
    figure = case_figure(case, LABELS)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=60)
    buffer.seek(0)
    picture = matplotlib.image.imread(buffer)[..., :3]
    rows, columns = picture.shape[:2]
    box = figure.axes[panel].get_position()
    return picture[
        round((1 - box.y1) * rows) : round((1 - box.y0) * rows),
        round(box.x0 * columns) : round(box.x1 * columns),
    ]


def middle_of(panel: np.ndarray, channel: int) -> tuple[float, float]:
    """(row, column) in 0..1 of what is clearly red (0) or green (1)."""
    others = panel[..., [c for c in range(3) if c != channel]].max(axis=-1)
    where = np.argwhere(panel[..., channel] > others + 0.15)
    assert len(where)
    row, column = where.mean(axis=0) / panel.shape[:2]
    return row, column


def test_the_report_fetches_nothing_from_anywhere():
    html = render_report(a_report())
    links = _Links()
    links.feed(html)
    assert links.found
    assert all(link.startswith("data:image/png;base64,") for link in links.found)
    assert not links.tags & {"script", "link", "iframe", "object", "embed"}
    assert "http:" not in html
    assert "https:" not in html
    assert "url(" not in html
    assert "@import" not in html


def test_the_pictures_in_the_report_are_whole():
    links = _Links()
    links.feed(render_report(a_report()))
    # Dice, loss and validation in light and dark, and two cases.
    assert len(links.found) == 3 * 2 + 2
    for link in links.found:
        picture = matplotlib.image.imread(BytesIO(base64.b64decode(link.partition(",")[2])))
        assert min(picture.shape[:2]) > 100
        assert picture[..., :3].std() > 0.01


def test_every_case_organ_method_fact_and_warning_is_named():
    text = text_of(render_report(a_report()))
    named = {"case_1", "case_2", "liver", "left kidney", "Supervised", "Mean teacher", "annotated"}
    told = {"These are phantoms, not patients.", "look at the lower pole", "2 min 05 s", "48, 64, 64"}
    for words in named | told:
        assert words in text
    assert "Six organs &amp; more" in text


def test_names_are_escaped():
    html = render_report(a_report(title="<script>alert(1)</script>", methods=[], cases=[a_case("<b>x</b>")]))
    assert "<script>" not in html
    assert "<b>x</b>" not in html


def test_counts_are_told_as_they_are():
    text = text_of(render_report(a_report(cases=[])))
    assert "the mean of 9 cases" in text
    assert "12.5 ± 3.0 n = 6" in text
    uneven = a_report(methods=[a_method(liver=Statistic(0.8, 0.1, 4))], cases=[])
    text = text_of(render_report(uneven))
    assert "0.800 ± 0.100 n = 4" in text
    assert "0.600 ± 0.200 n = 9" in text


def test_a_single_case_gets_no_standard_deviation():
    text = text_of(render_report(a_report(methods=[a_method(liver=Statistic(0.8125, 0.0, 1))], cases=[])))
    assert re.search(r"0\.81[23] n = 1", text)
    assert Statistic(0.8, float("nan"), 3).spread is None


def test_the_mean_over_organs_leaves_out_what_was_not_measured():
    nothing = Statistic(float("nan"), float("nan"), 0)
    text = text_of(render_report(a_report(methods=[a_method(liver=nothing)], cases=[])))
    assert "mean Dice over 1 organ," in text
    assert "1 of 2" in text
    assert not re.search(r"\bnan\b", text)


def test_volumes_are_in_millilitres():
    case = a_case()
    assert case.volume_ml(LABELS[0], reference=True) == pytest.approx(6 * 6 * 5 * 80 / 1000)
    assert "14.4" in text_of(render_report(a_report(methods=[], cases=[case])))


def test_a_case_without_reference_says_so_and_shows_no_expert():
    text = text_of(render_report(a_report(methods=[], cases=[a_case(reference=None, scores={})])))
    assert "no expert outline to compare with" in text
    assert "expert, ml" not in text


def test_an_empty_prediction_is_shown_as_none():
    empty = np.zeros(SHAPE, np.uint8)
    case = a_case(prediction=empty, scores={"liver": 0.0})
    text = text_of(render_report(a_report(methods=[], cases=[case])))
    assert re.search(r"automatic, ml\s+none\s+none", text)


def test_a_report_with_nothing_in_it_is_still_a_page(tmp_path):
    write_report(ReportInput("Empty", LABELS), tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<h1>Empty</h1>" in html
    assert "<img" not in html
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_failed_report_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    write_report(ReportInput("Old", LABELS), path)

    def break_down(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", break_down)
    with pytest.raises(Exception, match="No space left"):
        write_report(ReportInput("New", LABELS), path)
    monkeypatch.undo()
    assert "<h1>Old</h1>" in path.read_text(encoding="utf-8")


def test_refuses_a_prediction_on_another_grid():
    with pytest.raises(ValueError, match="prediction has"):
        a_case(prediction=np.zeros((3, 4, 5), np.uint8))


def test_the_patients_right_is_on_the_left_and_the_front_is_up():
    volume = np.zeros(SHAPE, np.uint8)
    volume[4:6, 2:5, 2:5] = 3
    volume[4:6, 8:11, 11:14] = 7
    case = a_case(prediction=volume, reference=None, uncertainty=None)
    axial = overlay(case, 0)
    liver, kidney = middle_of(axial, 0), middle_of(axial, 1)
    assert liver[1] < 0.5 < kidney[1]
    assert liver[0] < 0.5 < kidney[0]


def test_the_head_is_up_in_coronal_and_sagittal_slices():
    volume = np.zeros(SHAPE, np.uint8)
    volume[7:9, 4:8, 6:10] = 3
    volume[1:3, 4:8, 6:10] = 7
    case = a_case(prediction=volume, reference=None, uncertainty=None)
    for panel in (1, 2):
        picture = overlay(case, panel)
        assert middle_of(picture, 0)[0] < 0.5 < middle_of(picture, 1)[0]


def test_slices_have_the_shape_of_the_patient_not_of_the_grid():
    volume = np.zeros(SHAPE, np.uint8)
    volume[1:-1, 1:-1, 1:-1] = 3
    case = a_case(prediction=volume, reference=None, uncertainty=None, spacing=(8.0, 2.0, 2.0))
    axial, coronal = overlay(case, 0), overlay(case, 1)
    assert axial.shape[1] / axial.shape[0] == pytest.approx(16 * 2 / (12 * 2), rel=0.03)
    assert coronal.shape[1] / coronal.shape[0] == pytest.approx(16 * 2 / (10 * 8), rel=0.05)


def test_the_telling_slice_does_not_overlook_the_small_organ():
    volume = np.zeros((20, 20, 20), np.uint8)
    volume[2:18, 2:18, 2:14] = 3
    volume[5, 16:18, 16:18] = 7
    case = ReportCase("a", np.zeros((20, 20, 20)), volume, (1.0, 1.0, 1.0))
    assert telling_slice(case, LABELS, 0) == 5


def test_without_organs_the_middle_slice_is_shown():
    case = a_case(prediction=np.zeros(SHAPE, np.uint8), reference=None)
    assert telling_slice(case, LABELS, 1) == SHAPE[1] // 2


def test_windows_suit_ct_and_mr_and_survive_a_constant_image():
    assert intensity_window(a_case().image) == (-150.0, 250.0)
    mr = np.random.default_rng(0).gamma(2.0, 200.0, (10, 10, 10))
    low, high = intensity_window(mr)
    assert mr.min() < low < np.median(mr) < high < mr.max()
    low, high = intensity_window(np.zeros((4, 4, 4)))
    assert low < high


def test_pictures_are_written_as_png(tmp_path):
    save_case_figure(a_case(), LABELS, tmp_path / "case.png", dpi=50)
    save_bar_comparison([a_method()], LABELS, tmp_path / "bars.png")
    save_dice_vs_steps_plot({"A": [[(0, 0.1), (10, 0.5)]]}, tmp_path / "steps.png")
    for name in ("case.png", "bars.png", "steps.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_bars_are_as_high_as_the_mean():
    axes = bar_figure([a_method(), a_method("B", liver=Statistic(0.9, 0.05, 9))], LABELS).axes[0]
    assert [round(bar.get_height(), 3) for bar in axes.patches] == [0.8, 0.6, 0.9, 0.6]


def test_the_band_spans_the_seeds_and_stops_where_a_run_stopped():
    runs = {"A": [[(0, 0.0), (10, 0.4), (20, 0.6)], [(0, 0.2), (10, 0.6)]]}
    axes = dice_vs_steps_figure(runs).axes[0]
    (line,) = axes.get_lines()
    np.testing.assert_allclose(line.get_xydata(), [(0, 0.1), (10, 0.5)])
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(0.0)
    assert band[:, 1].max() == pytest.approx(0.6)
    assert "2 seeds" in axes.get_legend().get_texts()[0].get_text()


def test_curves_show_every_point():
    loss = loss_figure([a_method()]).axes[0].get_lines()
    assert len(loss[0].get_xdata()) == len(loss[1].get_xdata()) == 10
    # The running mean lags behind a falling loss, never below it.
    assert np.all(loss[1].get_ydata() >= loss[0].get_ydata() - 1e-12)
    organs = [axes for axes in validation_figure([a_method()], LABELS).axes if axes.get_visible()]
    assert [axes.get_title("left") for axes in organs] == ["liver", "left kidney"]
    np.testing.assert_allclose(organs[0].get_lines()[0].get_ydata(), [0.4, 0.7])


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "yes"), (0.01, "0.01"), ((1, 2), "1, 2"), ({"a_b": 1}, "a b: 1"), ("x_y", "x_y")],
)
def test_settings_read_like_words(value, text):
    assert plain(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(12.4, "12 s"), (125, "2 min 05 s"), (7800, "2 h 10 min")])
def test_durations_read_like_words(seconds, text):
    assert duration(seconds) == text
