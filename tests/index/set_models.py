"""Sets of hashes by owner as a dict, and the plain comparison that an index over sets is held against."""

import numpy as np

from app.index.sets import SetIndex

RADII = (0, 1, 2, 3, 5, 6, 8, 12, 15, 64)


def as_arrays(model):
    """Hashes, owners and counts of sets by owner."""
    hashes = [hash_ for own in model.values() for hash_ in own]
    owners, counts = list(model), [len(own) for own in model.values()]
    return np.array(hashes, np.uint64), np.array(owners, np.int64), np.array(counts, np.int64)


def tags_of(model):
    """Of each hash a tag that is its set's and its place's own."""
    return np.array(
        [(41 * owner + 7 * place) % 256 for owner, own in model.items() for place in range(len(own))],
        np.uint8,
    )


def plain_near(model, queries, radius, sure=None):
    """Rows of all there is to be found: query, owner, place, distance, tag."""
    sure = [0] * len(queries) if sure is None else sure
    model = dict(sorted(model.items()))
    hashes, owners, counts = as_arrays(model)
    places = np.concatenate([np.empty(0, np.int64), *(np.arange(count) for count in counts)])
    owners, tags = np.repeat(owners, counts), tags_of(model)
    rows = []
    for number, query in enumerate(queries):
        different = hashes ^ np.uint64(query)
        distances = np.bitwise_count(different)
        near = np.flatnonzero((distances <= radius) & (different & np.uint64(sure[number]) == 0))
        columns = owners, places, distances, tags
        found = zip(*(column[near].tolist() for column in columns), strict=True)
        rows += [(number, *row) for row in found]
    return rows


def rows(hits):
    assert [column.dtype for column in hits.columns] == [np.int32, np.int64, np.int32, np.uint8, np.uint8]
    return list(zip(*(column.tolist() for column in hits.columns), strict=True))


def as_queries(values):
    return np.array(values, np.uint64)


def cut(hashes, counts):
    """Sets of so many hashes each, by owner, until there are none left."""
    model, first = {}, 0
    for number, count in enumerate(counts):
        model[3 * number - 7] = hashes[first : first + count].tolist()
        first += count
    model[3 * len(counts)] = hashes[first:].tolist()
    return model


def built(model):
    model = dict(sorted(model.items()))
    return SetIndex.build(*as_arrays(model), tags_of(model))


def put(index, model):
    hashes, owners, counts = as_arrays(model)
    index.put(owners, hashes, counts, tags_of(model))


def holds(index, model):
    """Check that an index has just the sets of a dict, and finds them."""
    hashes, owners, tags = index.contents()
    assert np.array_equal(tags, tags_of(dict(sorted(model.items()))))
    expected, by, counts = as_arrays(dict(sorted(model.items())))
    assert np.array_equal(hashes, expected)
    assert np.array_equal(owners, np.repeat(by, counts))
    assert len(index) == len(expected)
    assert rows(index.near(as_queries([0]), 64)) == plain_near(model, [0], 64)
