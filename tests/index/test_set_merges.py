"""The index over sets of hashes while it changes: in the middle of merges, and when merges fail."""

import logging
import threading
import tracemalloc
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.index import set_parts, set_tables, sets
from app.index.set_parts import SetPart
from app.index.set_tables import BandTable
from app.index.set_tail import SetTail
from app.index.sets import SetIndex
from tests.index.drawn import random_hashes
from tests.index.set_models import RADII, as_arrays, as_queries, built, cut, holds, plain_near, put, rows

HASHES = st.sampled_from([0, 1, 3, 7, 2**63, 2**63 + 1, 2**64 - 1, 2**64 - 2, 0x0F0F, 0x0F0F << 32])
OWNERS = st.integers(-5, 12) | st.sampled_from([-(2**63), 2**63 - 1])
A_SET = st.tuples(OWNERS, st.lists(HASHES, max_size=6))
CHANGE = st.tuples(st.lists(A_SET, max_size=4), st.lists(OWNERS, max_size=4))


class ChangesAgainstDict(RuleBasedStateMachine):
    """Any order of changes, searches and merges, with changes and searches in the middle of merges."""

    def __init__(self):
        super().__init__()
        self.index, self.model = SetIndex(), {}
        self.earlier = []  # versions that a slow reader may still hold, and what they were
        self.meanwhile = []
        self.patched = pytest.MonkeyPatch()
        self.patched.setattr(sets, "_TAIL", 8)
        self.patched.setattr(sets, "_WRITERS_OWN", 20)
        self.patched.setattr(SetIndex, "_merge_if_due", lambda _: None)
        build = sets.merging

        def interrupted(*arguments):
            def meanwhile(most):
                for _ in range(most):
                    if self.meanwhile and not self.index._writing.locked():
                        self.meanwhile.pop(0)()

            meanwhile(1)
            steps = build(*arguments)
            for made in steps:
                meanwhile(99 if len(made) == 1 else 1)
                yield made

        self.patched.setattr(sets, "merging", interrupted)

    def teardown(self):
        self.patched.undo()

    def change(self, entries, removed):
        entries = dict(entries)
        put(self.index, entries)
        self.model.update(entries)
        self.index.remove(np.array(removed, np.int64))
        for owner in removed:
            self.model.pop(owner, None)
        self.earlier = [*self.earlier[-3:], (self.index._version, dict(self.model))]

    @rule(change=CHANGE)
    def put_and_remove(self, change):
        self.change(*change)

    @rule(changes=st.lists(CHANGE, max_size=3))
    def merge_while_things_change(self, changes):
        for change in changes:
            self.meanwhile += [lambda change=change: self.change(*change), self.holds_what_the_dict_holds]
        self.index.merge_now()
        while self.meanwhile:  # if there was nothing to merge
            self.meanwhile.pop(0)()

    @rule(changes=st.lists(CHANGE, max_size=2))
    def merge_what_is_due_while_things_change(self, changes):
        self.meanwhile += [lambda change=change: self.change(*change) for change in changes]
        self.index._merge_what_is_due()
        while self.meanwhile:
            self.meanwhile.pop(0)()

    @rule(
        queries=st.lists(st.tuples(HASHES, st.integers(0, 2**64 - 1)), max_size=3),
        radius=st.sampled_from(RADII),
        differ=st.booleans(),
    )
    def search(self, queries, radius, differ):
        queries, masks = [query for query, _ in queries], [mask if differ else 0 for _, mask in queries]
        found = self.index.near(as_queries(queries), radius, as_queries(masks))
        assert rows(found) == plain_near(self.model, queries, radius, masks)

    @invariant()
    def holds_what_the_dict_holds(self):
        holds(self.index, self.model)

    @invariant()
    def versions_stay_as_they_were(self):
        for version, model in self.earlier:
            assert rows(version.near(as_queries([3]), as_queries([0]), 64)) == plain_near(model, [3], 64)
            assert np.array_equal(version.contents().hashes, as_arrays(dict(sorted(model.items())))[0])


TestChangesAgainstDict = ChangesAgainstDict.TestCase
TestChangesAgainstDict.settings = settings(max_examples=40, stateful_step_count=15, deadline=None)


def test_what_is_found_due_is_merged_before_a_writer_merges_it_too(monkeypatch):
    monkeypatch.setattr(sets, "_TAIL", 8)
    monkeypatch.setattr(sets, "_WRITERS_OWN", 200)
    monkeypatch.setattr(sets, "SHARE", 8)
    monkeypatch.setattr(set_parts, "SHARE", 8)
    monkeypatch.setattr(SetIndex, "_merge_if_due", lambda _: None)
    index, model = SetIndex(), {}

    def write(owner, count):
        own = {owner: random_hashes(count, seed=owner).tolist()}
        put(index, own)
        model.update(own)

    index._held = 99  # a part each
    for owner, count in enumerate((5000, 150, 16)):
        write(owner, count)
    put(index, {3: [1, 2], 4: [5] * 6})
    index.remove(np.array([4]))
    model[3] = [1, 2]
    index._held = 0
    assert sets.due(index._version.parts) == 3
    merge, merging = SetIndex._merge, sets.merging
    # As soon as that is known, a tail is full with which the writer may merge all parts but one; then another.
    writes = [lambda: write(5, 24), lambda: write(6, 8)]

    def late(*arguments):
        if len(writes) == 2:
            writes.pop(0)()
        merge(*arguments)

    def interrupted(*arguments):
        if len(writes) == 1 and not index._writing.locked():
            writes.pop(0)()
        return merging(*arguments)

    monkeypatch.setattr(SetIndex, "_merge", late)
    monkeypatch.setattr(sets, "merging", interrupted)
    index._merge_in_background()
    assert not writes
    holds(index, model)


def one(number):
    return np.array([number], np.int64)


class Watched(SetIndex):
    """Looks at itself as soon as a version is published."""

    look = staticmethod(lambda: None)

    @property
    def _version(self):
        return self._published

    @_version.setter
    def _version(self, version):
        self._published = version
        self.look()


def test_what_is_published_is_whole_at_that_moment(monkeypatch):
    monkeypatch.setattr(sets, "_TAIL", 8)
    index, model, looks = Watched(), {}, []
    index.look = lambda: looks.append(1) or holds(index, model)
    for number in range(40):
        own = {number % 7: [number] * 3, number % 5 + 3: [number + 1]}
        model |= own
        put(index, own)
        if number % 4 == 0:
            del model[number % 7]
            index.remove(one(number % 7))
    index.close()
    index.merge_now()
    assert len(looks) > 60


def test_parts_stay_few_and_merges_happen_in_the_background(monkeypatch):
    monkeypatch.setattr(sets, "_TAIL", 20)
    monkeypatch.setattr(sets, "_WRITERS_OWN", 100)
    index = SetIndex()
    for number in range(400):
        index.put(one(number), random_hashes(10, seed=number), one(10))
    index.close()
    assert len(index._version.parts) <= 4
    assert max(len(part.tables) for part in index._version.parts) > 100
    assert len(index) == 4000


def ten_thousand():
    """An index of a hundred sets of a hundred hashes, what it has, and its owners."""
    model = cut(random_hashes(10_000), [100] * 99)
    return built(model), model, np.array(list(model))


def table_sizes(index):
    index.close()
    return [len(part.tables) for part in index._version.parts]


def test_removals_alone_lead_to_a_merge():
    index, _, owners = ten_thousand()
    index.remove(owners[:40])
    assert table_sizes(index) == [6000]
    assert len(index) == 6000


def in_two_parts(first, later, monkeypatch):
    """Sets of random hashes in tables of so many, and others that come after them."""
    hashes = random_hashes(first + later)
    models = (
        cut(hashes[:first], [100] * (first // 100 - 1)),
        {
            10**9 + number: hashes[first + 50 * number : first + 50 * (number + 1)].tolist()
            for number in range(later // 50)
        },
    )
    index = built(models[0])
    monkeypatch.setattr(SetIndex, "_merge_if_due", lambda _: None)
    put(index, models[1])
    return index, models[0] | models[1]


def at_each_step(monkeypatch, index, call):
    """Have a merge beside the writer call something with the number of each of its steps before it is published."""
    merging = sets.merging

    def watched(*arguments):
        for number, made in enumerate(merging(*arguments)):
            if not index._writing.locked():
                call(number)
            yield made

    monkeypatch.setattr(sets, "merging", watched)


def test_between_the_steps_of_a_merge_changes_take_effect_and_all_is_found(monkeypatch):
    monkeypatch.setattr(set_tables, "_SCANNED_NS", 1e12)
    index, model = in_two_parts(8000, 1000, monkeypatch)
    owners, seen = list(model), []
    index.remove(np.array([owners[40], owners[-40]]))  # dead before it begins
    del model[owners[40]], model[owners[-40]]

    def change(number):
        seen.append(number)
        early, late = owners[number], owners[-1 - number]
        index.remove(np.array([early, late]))
        del model[early], model[late]
        new = {owners[number + 20]: [number, 2**63], -900 - number: [number + 2]}
        put(index, new)
        model.update(new)
        holds(index, model)
        some = [hashes[0] for hashes in list(model.values())[::5]]
        queries = as_queries([0, 2**63, *some]) ^ np.uint64(0b101)
        assert rows(index.near(queries, 5)) == plain_near(model, queries, 5)

    at_each_step(monkeypatch, index, change)
    index.merge_now()
    assert seen == [0, 1, 2, 3]
    change(4)
    assert len(index._version.parts) == 1


@pytest.mark.parametrize("step", [1, 2, 3])
def test_what_a_merge_that_failed_has_half_merged_is_made_anew(step, monkeypatch):
    index, model = in_two_parts(8000, 1000, monkeypatch)

    def fail(number):
        if number == step:
            raise MemoryError

    with monkeypatch.context() as patched:
        at_each_step(patched, index, fail)
        with pytest.raises(MemoryError):
            index.merge_now()
    holds(index, model)
    index.merge_now()
    holds(index, model)
    [part] = index._version.parts
    assert [len(band) for band in part.tables.bands] == [9000] * 3


def test_a_merge_takes_a_part_of_the_memory_of_what_it_merges(monkeypatch):
    index, _ = in_two_parts(400_000, 8000, monkeypatch)
    tracemalloc.start()
    try:
        index._version = replace(
            index._version, parts=tuple(SetPart.of(copied(part.tables)) for part in index._version.parts)
        )
        index.remove(index.contents()[1][:1])  # one that is dead must not have all made anew
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        index.merge_now()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most - before < 0.5 * index.nbytes


def copied(tables):
    """The same in memory that is traced."""
    bands = tuple(BandTable(band.begins.copy(), band.low.copy(), band.rest.copy()) for band in tables.bands)
    return replace(tables, bands=bands, positions=tables.positions.copy(), tags=tables.tags.copy())


def out_of_memory(*_):
    raise MemoryError("no room")


@contextmanager
def failing_merges(monkeypatch, caplog):
    with monkeypatch.context() as patched, caplog.at_level(logging.ERROR):
        patched.setattr(sets, "merging", out_of_memory)
        yield


def test_a_merge_that_fails_is_logged_and_tried_again_later(monkeypatch, caplog):
    index, model, owners = ten_thousand()
    with failing_merges(monkeypatch, caplog):
        index.remove(owners[:40])
        index.close()
        index.remove(owners[40:41])
        assert index._thread is None
    assert caplog.text.count("could not be merged") == 1
    put(index, {1000: random_hashes(3000).tolist()})
    assert table_sizes(index) == [5900]
    holds(
        index, {owner: model[owner] for owner in owners[41:].tolist()} | {1000: random_hashes(3000).tolist()}
    )


@pytest.mark.parametrize("what", ["removed", "replaced"])
def test_a_merge_that_failed_is_tried_again_where_there_is_no_growth(what, monkeypatch, caplog):
    index, model, owners = ten_thousand()
    with failing_merges(monkeypatch, caplog):
        index.remove(owners[:40])
        index.close()
    for owner in owners[40:80].tolist():
        put(index, {owner: [] if what == "removed" else model[owner]})
    assert table_sizes(index)[0] < 5300


def test_after_a_merge_that_succeeds_an_earlier_failure_delays_none(monkeypatch, caplog):
    index, _, owners = ten_thousand()
    with failing_merges(monkeypatch, caplog):
        index.remove(owners[:20])
        index.close()
    index.merge_now()
    index.remove(owners[20:31])
    assert table_sizes(index) == [6900]


def test_a_change_of_which_no_tables_can_be_made_takes_effect_all_the_same(monkeypatch, caplog):
    monkeypatch.setattr(sets, "_TAIL", 8)
    index, model = SetIndex(), {number: [number] * 3 for number in range(12)}
    with failing_merges(monkeypatch, caplog):
        for number in range(7):
            put(index, {number: model[number]})
        assert caplog.text.count("No tables could be made") == 2  # of 9 hashes, and of 18
        holds(index, {number: model[number] for number in range(7)})
    for number in range(7, 12):
        put(index, {number: model[number]})
    assert len(index._version.parts) == 1
    holds(index, model)


def test_where_no_thread_is_to_be_had_parts_serve_until_one_is(monkeypatch):
    index, model, owners = ten_thousand()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", lambda _: (_ for _ in ()).throw(RuntimeError))
        index.remove(owners[:40])
        assert table_sizes(index) == [10_000]
    index.remove(owners[40:41])
    assert table_sizes(index) == [5900]
    holds(index, {owner: model[owner] for owner in owners[41:].tolist()})


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (SetTail, "with_sets"),
        (SetPart, "living_sets"),
        (SetTail, "living_sets"),
        (SetPart, "without"),
        (sets, "_Version"),
    ],
)
def test_a_change_that_fails_has_no_part_in_the_next(place, name, monkeypatch):
    index, model, owners = ten_thousand()
    put(index, {-9: [1, 2]})
    with monkeypatch.context() as patched:
        patched.setattr(place, name, out_of_memory)
        with pytest.raises(MemoryError):
            put(index, {-9: [4, 5], int(owners[3]): [8], 999: [6]})
    put(index, {1000: [1]})
    holds(index, model | {-9: [1, 2], 1000: [1]})
