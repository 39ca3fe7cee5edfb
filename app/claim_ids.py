"""What a claim id may look like, at every door."""

import re

from app.errors import InvalidValue

CLAIM_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAX_CLAIM_ID_CHARACTERS = 64


def checked_claim_id(value: str) -> str:
    """Return a claim id that fits its form. Raises InvalidValue.

    >>> checked_claim_id("KD-2026.0042")
    'KD-2026.0042'
    """
    if CLAIM_ID.fullmatch(value) is None:
        raise InvalidValue(
            "claim_id must be 1 to 64 of the characters A-Z a-z 0-9 . _ - and begin with a letter or digit",
            field="claim_id",
            limit=MAX_CLAIM_ID_CHARACTERS,
        )
    return value
