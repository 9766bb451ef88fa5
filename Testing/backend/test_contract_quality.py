"""Quality cards and rankings: written, read, refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from sslseg.contract.cohort import Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import parse_labels
from sslseg.contract.quality import (
    CaseQuality,
    OrganQuality,
    RankedCase,
    Ranking,
    Verdict,
    quality_path,
    ranking_path,
    read_quality,
    read_ranking,
    write_quality,
    write_ranking,
)


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    return Cohort.create(tmp_path / "c", name="c", modality="CT", labels=parse_labels("liver=1"))


def test_a_card_and_a_ranking_are_read_as_they_were_written(cohort: Cohort) -> None:
    organ = OrganQuality("liver", Verdict.LOOK, ["small"], 12.5, 2, 0.9, False, 0.1, 0.31, 0.8)
    card = CaseQuality("a", "m", Verdict.LOOK, [], [organ], 0.1, [0.6, 0.8])
    ranking = Ranking("m", [RankedCase("a", 0.7, "review", "liver: small", 0.5, 0.2)])
    write_quality(cohort, card)
    write_ranking(cohort, ranking)
    assert read_quality(cohort, "m", "a") == card
    assert read_ranking(cohort, "m") == ranking


def test_what_was_never_written_is_none(cohort: Cohort) -> None:
    assert read_quality(cohort, "m", "a") is None
    assert read_ranking(cohort, "m") is None


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 2}', '{"version": 1}'])
def test_a_damaged_file_is_refused_with_the_remedy(cohort: Cohort, text: str) -> None:
    for path in (quality_path(cohort, "m", "a"), ranking_path(cohort, "m")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with pytest.raises(SSLSegError, match=r"a\.json"):
        read_quality(cohort, "m", "a")
    with pytest.raises(SSLSegError, match=r"ranking\.json"):
        read_ranking(cohort, "m")
