"""Which images are meant: those with some labels, of some days."""

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Filter:
    """Images that have all these labels, whose day is not before `from_day` and not after `to_day`.

    An image's day is that of its label `claimed_at` where that begins with one (2026-11-26), else that of its
    upload, UTC.
    """

    labels: Mapping[str, Any] = field(default_factory=dict)
    from_day: dt.date | None = None
    to_day: dt.date | None = None

    def condition(self, image: str) -> tuple[str, dict[str, Any]]:
        """As SQL about the table or alias `image`, with the values to bind; TRUE where all are meant."""
        parts: list[str] = []
        values: dict[str, Any] = {}
        if self.labels:
            parts.append(f"{image}.labels @> CAST(:filter_labels AS jsonb)")
            values["filter_labels"] = json.dumps(dict(self.labels))
        for name, sign, day in (("from_day", ">=", self.from_day), ("to_day", "<=", self.to_day)):
            if day is not None:
                parts.append(f"{image}.day {sign} :filter_{name}")
                values[f"filter_{name}"] = day
        return " AND ".join(parts) or "TRUE", values

    @property
    def json(self) -> dict[str, Any]:
        """As it is stored and shown; equal for equal filters."""
        found: dict[str, Any] = {"labels": dict(sorted(self.labels.items()))} if self.labels else {}
        if self.from_day:
            found["from"] = self.from_day.isoformat()
        if self.to_day:
            found["to"] = self.to_day.isoformat()
        return found

    @property
    def words(self) -> str:
        """As it is told in a report."""
        parts = [f"{name} = {value}" for name, value in self.labels.items()]
        parts += [f"from {self.from_day}"] if self.from_day else []
        parts += [f"to {self.to_day}"] if self.to_day else []
        return ", ".join(parts) or "of all labels and days"

    @classmethod
    def of_json(cls, stored: Mapping[str, Any]) -> "Filter":
        """What `json` gave."""
        return cls(
            stored.get("labels", {}),
            *(dt.date.fromisoformat(stored[name]) if name in stored else None for name in ("from", "to")),
        )
