import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.cursors import decode_cursor, encode_cursor
from app.errors import InvalidCursor, InvalidValue
from app.index.live import LiveIndex
from app.search import Query
from app.search.searchers import nearest_per_image

WORDS = st.integers(0, 2**64 - 1)


@settings(deadline=None)
@given(
    st.lists(WORDS, max_size=30),
    st.lists(WORDS, min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0, 29), st.integers(0, 7), st.integers(0, 63)), max_size=20),
    st.integers(0, 64),
)
def test_nearest_of_all_orientations_equals_the_plain_minimum(
    stored: list[int], queries: list[int], near: list[tuple[int, int, int]], max_distance: int
) -> None:
    for place, query, bits in near:
        if place < len(stored):
            stored[place] = queries[query % len(queries)] ^ ((1 << bits) - 1)
    index = LiveIndex.build(np.array(stored, np.uint64), np.arange(len(stored), dtype=np.int64) * 3)
    found = nearest_per_image(index, np.array(queries, np.uint64), max_distance)
    expected = []
    for place, word in enumerate(stored):
        distances = [(word ^ query).bit_count() for query in queries]
        if min(distances) <= max_distance:
            expected.append((place * 3, min(distances), distances.index(min(distances))))
    assert list(zip(*(array.tolist() for array in found), strict=True)) == expected


@pytest.mark.parametrize(
    "field",
    [{"max_distance": 65}, {"max_distance": -1}, {"hash_name": "md5"}, {"orientations": "x"}, {"limit": 0}],
)
def test_query_out_of_range_is_refused(field: dict[str, object]) -> None:
    with pytest.raises(InvalidValue):
        Query(**field)  # type: ignore[arg-type]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4), st.text(max_size=20))
def test_cursor_gives_back_what_was_put_in(numbers: list[int], subject: str) -> None:
    assert decode_cursor(encode_cursor(subject, *numbers), subject, len(numbers)) == tuple(numbers)
    with pytest.raises(InvalidCursor):
        decode_cursor(encode_cursor(subject, *numbers), subject + "x", len(numbers))


@given(st.text(max_size=60) | st.binary(max_size=40).map(lambda data: data.hex()))
def test_any_other_text_is_no_cursor(value: str) -> None:
    with pytest.raises(InvalidCursor):
        decode_cursor(value, "subject", 1)
