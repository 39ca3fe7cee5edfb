"""The plain answer to "which pictures match": each is compared with all others; no index, no database."""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from app.fingerprints.value import COLUMN_OF, turned_from_bytes
from app.matching.kinds import PROPOSING_HASHES, Picture, Rule, compare
from tests.consistency.history import Drawn

_PROPOSING = [COLUMN_OF[name] for name in PROPOSING_HASHES]


class Oracle:
    """Compares pictures by the SHA-256 of their bytes."""

    def __init__(self, drawn: Iterable[Drawn], rule: Rule):
        self._rule = rule
        self._pictures = {item.sha256: _picture(item) for item in drawn}
        self._names = list(self._pictures)
        self._upright = np.array(
            [item.turned[:1, _PROPOSING] for item in self._pictures.values()], np.uint64
        ).reshape(-1, 1, len(_PROPOSING))
        self._same_pixels: defaultdict[bytes, list[str]] = defaultdict(list)
        for name, item in self._pictures.items():
            self._same_pixels[item.pixel_sha256].append(name)
        self._found: dict[str, frozenset[str]] = {}

    def matching(self, later: str) -> frozenset[str]:
        """Every picture that matches when it is uploaded before `later`, that one itself among them."""
        if later not in self._found:
            query = self._pictures[later]
            # compare() takes 15 us, so what it refuses in any case is left out wholesale, by a scan of all.
            bits = np.bitwise_count(query.turned[:, _PROPOSING] ^ self._upright)
            near = np.flatnonzero((bits <= self._rule.near).any(axis=(1, 2)))
            candidates = {later, *self._same_pixels[query.pixel_sha256], *(self._names[i] for i in near)}
            self._found[later] = frozenset(
                name for name in candidates if compare(query, self._pictures[name], self._rule) is not None
            )
        return self._found[later]


def _picture(drawn: Drawn) -> Picture:
    return Picture(
        sha256=bytes.fromhex(drawn.sha256),
        pixel_sha256=bytes.fromhex(drawn.pixel_sha256),
        low_information=drawn.low_information,
        page=drawn.page,
        turned=turned_from_bytes(bytes.fromhex(drawn.turned)),
    )
