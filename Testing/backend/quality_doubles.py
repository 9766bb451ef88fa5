"""Cards of made-up organs, for the tests of quality and ranking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sslseg.contract.quality import CaseQuality, OrganQuality, Verdict
from sslseg.quality.shapes import OrganShape


def a_card(organ: str = "liver", **changes: Any) -> OrganQuality:
    """An organ about which there is nothing to complain."""
    evidence = {"precision": 0.95, "recall": 0.95, "entropy": 0.05, "soft_dice": 0.95}
    evidence |= changes.pop("evidence", {})
    fields: dict[str, Any] = {
        "organ": organ,
        "verdict": Verdict.FINE,
        "reasons": [],
        "volume_ml": 1500.0,
        "components": 1,
        "largest_share": 1.0,
        "touches_edge": False,
        "uncertainty": 0.05,
        "disagreement": 0.0,
        "expected_dice": 0.95,
        "centre": (0.0, 0.0, 0.0),
        "evidence": evidence,
    }
    return OrganQuality(**fields | changes)


def a_case(name: str, organs: Sequence[OrganQuality], features: Sequence[float] = ()) -> CaseQuality:
    return CaseQuality(name, "first", Verdict.FINE, [], list(organs), 0.0, list(features))


def a_shape(volume_ml: float = 1500.0, **changes: Any) -> OrganShape:
    fields: dict[str, Any] = {
        "volume_ml": volume_ml,
        "components": 1,
        "largest_share": 1.0,
        "touches_edge": False,
        "centre": (0.0, 0.0, 0.0),
    }
    return OrganShape(**fields | changes)
