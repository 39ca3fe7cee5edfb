"""Similar images: by a stored one, or by a picture that is not stored.

query       what is asked for; searchers: how each fingerprint is searched for; search: answers, page by page
"""

from app.search.query import (
    AS_STORED,
    DEFAULT_DISTANCES,
    HASHES,
    MAX_DISTANCES,
    MAX_LIMIT,
    ORIENTATIONS,
    Query,
)
from app.search.search import Search, Similar, SimilarPage
from app.search.searchers import searchers_by_hash

__all__ = [
    "AS_STORED",
    "DEFAULT_DISTANCES",
    "HASHES",
    "MAX_DISTANCES",
    "MAX_LIMIT",
    "ORIENTATIONS",
    "Query",
    "Search",
    "Similar",
    "SimilarPage",
    "searchers_by_hash",
]
