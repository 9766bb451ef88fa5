"""What is done to a predicted organ afterwards: which rules, decided when the model was trained."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OrganRule:
    """What is done to one organ of a predicted label map.

    Attributes:
        organ: its name.
        value: its value in label maps.
        largest_only: whether all but its largest component (26 neighbours) is removed.
        smallest_ml: components smaller than this are removed; 0 removes none.
        fill_holes: whether background that the organ encloses (6 neighbours) becomes the organ.
    """

    organ: str
    value: int
    largest_only: bool = False
    smallest_ml: float = 0.0
    fill_holes: bool = False

    def __post_init__(self) -> None:
        if self.smallest_ml < 0:
            raise ValueError(f"smallest_ml of '{self.organ}' must not be negative")

    @property
    def does_something(self) -> bool:
        return self.largest_only or self.smallest_ml > 0 or self.fill_holes

    def in_words(self) -> str:
        """Such as 'liver: only its largest part is kept, holes in it are filled'."""
        parts = []
        if self.largest_only:
            parts.append("only its largest part is kept")
        elif self.smallest_ml > 0:
            parts.append(f"parts below {self.smallest_ml:.2g} ml are removed")
        if self.fill_holes:
            parts.append("holes in it are filled")
        return f"{self.organ}: {', '.join(parts) or 'nothing'}"
