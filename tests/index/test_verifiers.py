"""Verifiers by id against a dictionary."""

import threading

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.index.verifiers import Verifiers

WORD = st.integers(0, 2**64 - 1)
ROWS = st.dictionaries(st.integers(1, 300), st.tuples(WORD, WORD, WORD, WORD), max_size=8)
WRITES = st.lists(ROWS.map(lambda rows: list(rows.items())))


def arrays(rows):
    words = np.array([words for _, words in rows], np.uint64).reshape(-1, 4)
    return np.array([id_ for id_, _ in rows], np.int64), words, words[:, 0] % 2 == 1


@given(WRITES, st.tuples(WORD, WORD, WORD, WORD))
def test_the_last_verifier_of_each_id_is_compared(writes, query):
    first, *later = writes or [[]]
    verifiers = Verifiers(*arrays(first))
    for rows in later:
        verifiers.put(*arrays(rows))
    expected = dict(row for rows in writes for row in rows)
    ids = np.array(list(expected), np.int64)
    queries = np.tile(np.array(query, np.uint64), (len(ids), 1))
    assert verifiers.distances(ids, queries).tolist() == [
        sum((word ^ asked).bit_count() for word, asked in zip(words, query, strict=True))
        for words in expected.values()
    ]
    assert verifiers.pages(ids).tolist() == [words[0] % 2 == 1 for words in expected.values()]


def test_all_256_bits_count():
    verifiers = Verifiers(np.array([3]), np.zeros((1, 4), np.uint64), np.zeros(1, bool))
    query = np.full((1, 4), 2**64 - 1, np.uint64)
    assert verifiers.distances(np.array([3]), query).tolist() == [256]
    query[0, 0] = 2**63
    assert verifiers.distances(np.array([3]), query).tolist() == [193]


def test_a_reader_never_sees_half_a_verifier():
    ids = np.arange(1, 2000)
    verifiers = Verifiers(ids, np.zeros((len(ids), 4), np.uint64), np.zeros(len(ids), bool))
    done = threading.Event()

    def write():
        value = 0
        while not done.is_set():
            value ^= 2**64 - 1
            verifiers.put(ids, np.full((len(ids), 4), value, np.uint64), np.zeros(len(ids), bool))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(300):
            seen = verifiers.of(ids)
            assert (seen == seen[:, :1]).all()
    finally:
        done.set()
        writer.join()
