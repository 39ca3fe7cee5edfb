"""The live index against a dict, with changes in the middle of merges."""

import copy
import logging
import pickle
import time
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.index import id_kernels, live
from app.index.adaptive import Adaptive
from app.index.bktree import BKTree
from app.index.live import LiveIndex
from app.index.multi_index import MultiIndex
from app.index.scan import Scan
from tests.index.drawn import noise, random_hashes, shuffled_ids
from tests.index.kinds import ENGINES, EagerAdaptive

IDS = st.lists(st.integers(0, 25), max_size=12)
HASHES = st.sampled_from([0, 1, 3, 7, 2**63, 2**63 + 1, 2**64 - 1, 2**64 - 2, 0x0F0F])


def as_ids(values):
    return np.array(values, np.int64)


def as_hashes(values):
    return np.array(values, np.uint64)


def as_dict(hashes, ids):
    assert np.all(np.diff(ids) > 0)
    return dict(zip(ids.tolist(), hashes.tolist(), strict=True))


def plain_within(model, query, radius):
    return sorted(
        ((hash_ ^ query).bit_count(), id_)
        for id_, hash_ in model.items()
        if (hash_ ^ query).bit_count() <= radius
    )


def rows(neighbours):
    ordered = neighbours.nearest_first()
    return list(zip(ordered.distances.tolist(), ordered.ids.tolist(), strict=True))


class Interrupted:
    """An engine that, while it is being built, does what the test asks: what another thread could do then."""

    meanwhile: ClassVar[list] = []

    @classmethod
    def build(cls, hashes, ids):
        built = super().build(hashes, ids)
        while Interrupted.meanwhile:
            Interrupted.meanwhile.pop(0)()
        return built


class InterruptedTree(Interrupted, BKTree):
    """The tree."""


class InterruptedAdaptive(Interrupted, EagerAdaptive):
    """Tables, tree and scan in turns, whatever the size."""


class ChangesAgainstDict(RuleBasedStateMachine):
    """Any order of changes, searches and merges, with changes and searches in the middle of merges."""

    engine = InterruptedTree

    def __init__(self):
        super().__init__()
        Interrupted.meanwhile.clear()
        self.index = LiveIndex.build(as_hashes([]), as_ids([]), engine=self.engine)
        self.model = {}
        self.earlier = []  # versions that a slow reader may still hold, and what they were

    def change(self, entries, removed):
        if entries:
            ids, hashes = zip(*entries, strict=True)
            self.index.add(as_hashes(hashes), as_ids(ids))
            self.model.update(entries)
        self.index.remove(as_ids(removed))
        for id_ in removed:
            self.model.pop(id_, None)
        self.earlier = [*self.earlier[-5:], (self.index._version, dict(self.model))]

    @rule(entries=st.lists(st.tuples(st.integers(0, 25), HASHES), max_size=12), removed=IDS)
    def add_and_remove(self, entries, removed):
        self.change(entries, removed)

    @rule()
    def merge(self):
        self.index.merge_now()
        assert len(self.index._version.tail) == 0

    @rule(
        changes=st.lists(
            st.tuples(st.lists(st.tuples(st.integers(0, 25), HASHES), max_size=6), IDS), max_size=4
        )
    )
    def merge_while_things_change(self, changes):
        for entries, removed in changes:
            Interrupted.meanwhile += [
                lambda entries=entries, removed=removed: self.change(entries, removed),
                self.holds_what_the_dict_holds,
            ]
        self.index.merge_now()

    @rule(query=HASHES, radius=st.integers(0, 64))
    def search(self, query, radius):
        assert rows(self.index.within(query, radius)) == plain_within(self.model, query, radius)

    @rule(queries=st.lists(HASHES, max_size=3), radius=st.integers(0, 64))
    def search_many(self, queries, radius):
        found = self.index.within_many(as_hashes(queries), radius)
        assert np.all(np.diff(found.queries) >= 0)
        for number, query in enumerate(queries):
            mine = found.queries == number
            answer = sorted(zip(found.distances[mine].tolist(), found.ids[mine].tolist(), strict=True))
            assert answer == plain_within(self.model, query, radius)

    @invariant()
    def holds_what_the_dict_holds(self):
        assert as_dict(*self.index.contents()) == self.model
        assert len(self.index) == len(self.model)
        assert rows(self.index.within(0, 64)) == plain_within(self.model, 0, 64)

    @invariant()
    def versions_stay_as_they_were(self):
        for version, model in self.earlier:
            hashes, ids = version.contents()
            assert dict(zip(ids.tolist(), hashes.tolist(), strict=True)) == model


class ChangesOfTables(ChangesAgainstDict):
    """The same where hashes are rearranged."""

    engine = InterruptedAdaptive


TestChangesAgainstDict = ChangesAgainstDict.TestCase
TestChangesAgainstDict.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
TestChangesOfTables = ChangesOfTables.TestCase
TestChangesOfTables.settings = settings(max_examples=50, stateful_step_count=25, deadline=None)


@pytest.mark.parametrize("engine", [engine for engine in ENGINES if engine is not LiveIndex])
def test_deaths_and_merges_of_many(engine):
    hashes, ids = random_hashes(40_000), shuffled_ids(40_000)
    hashes[20_000:] = hashes[:20_000] ^ noise(20_000, 12)
    built = engine.build(hashes, ids)
    assert np.array_equal(built.hashes[np.argsort(built.ids)], hashes[np.argsort(ids)])
    index = LiveIndex.build(hashes, ids, engine=engine)
    index.remove(ids[::3])
    alive = np.ones(len(ids), bool)
    alive[::3] = False
    for _ in range(3):
        for radius in (0, 1, 2, 8, 9, 10, 20, 21, 22):
            many = index.within_many(hashes[:6], radius)
            for number, query in enumerate(hashes[:6]):
                expected = np.sort(ids[(np.bitwise_count(hashes ^ query) <= radius) & alive])
                assert np.array_equal(np.sort(index.within(int(query), radius).ids), expected)
                assert np.array_equal(np.sort(many.ids[many.queries == number]), expected)
        index.merge_now()


@pytest.mark.parametrize("engine", [MultiIndex, Adaptive])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda engine: pickle.loads(pickle.dumps(engine))])
def test_a_copy_of_an_engine_has_arrays_of_its_own(engine, copied):
    hashes = random_hashes(50_000)
    other = copied(engine.build(hashes, np.arange(len(hashes))))
    assert other.addresses[0] == other.rearranged.ctypes.data
    assert other.within(int(hashes[7]), 0).ids.tolist() == [7]


def test_pairs_of_the_dead_are_not_joined():
    index = an_index(4)
    index.remove(as_ids([1, 2]))
    assert [(pairs.left.tolist(), pairs.right.tolist()) for pairs in index.pairs_within(64)] == [([0], [3])]


def test_what_changes_during_a_merge_is_left_for_the_next():
    index = an_index(10, engine=InterruptedTree)
    Interrupted.meanwhile.append(lambda: index.add(as_hashes([1, 2, 3]), as_ids([20, 21, 22])))
    Interrupted.meanwhile.append(lambda: index.remove(as_ids([4, 5])))
    index.merge_now()
    assert index._unmerged == 5


def out_of_memory(*_):
    raise MemoryError


def test_a_change_that_fails_has_no_part_in_the_next(monkeypatch):
    index = an_index(10)
    with monkeypatch.context() as patched:
        patched.setattr(live.Tail, "change", out_of_memory)
        with pytest.raises(MemoryError):
            index.remove(as_ids([5]))
    index.remove(as_ids([6]))
    assert len(index) == 9
    assert 5 in index.contents()[1]


def test_a_merge_that_goes_on_failing_is_tried_ever_more_rarely(monkeypatch, caplog):
    index = an_index()
    index._merge_at = 4
    tried = []
    monkeypatch.setattr(LiveIndex, "_merge", lambda _: tried.append(1) or out_of_memory())
    with caplog.at_level(logging.CRITICAL):
        for number in range(1000):
            index.add(as_hashes([number]), as_ids([number]))
            while index._merge_scheduled:
                time.sleep(0.0005)
    assert 5 <= len(tried) <= 10


def an_index(count=0, **options):
    return LiveIndex.build(np.arange(count, dtype=np.uint64), np.arange(count), **options)


def test_an_id_added_again_is_found_by_its_new_hash_only():
    index = an_index(10)
    index.add(as_hashes([2**63]), as_ids([4]))
    assert rows(index.within(4, 0)) == []
    assert rows(index.within(2**63, 0)) == [(0, 4)]
    assert len(index) == 10


def test_of_an_id_given_twice_in_one_call_the_last_hash_counts():
    index = an_index()
    index.add(as_hashes([5, 6, 7]), as_ids([1, 2, 1]))
    assert as_dict(*index.contents()) == {1: 7, 2: 6}


def test_an_id_removed_twice_in_one_call_counts_once():
    index = an_index(10)
    index.remove(as_ids([3, 3, 99, 3]))
    assert len(index) == len(index.contents()[1]) == 9


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 5000)))
def test_ids_are_ordered_as_a_stable_sort_orders_them(ids):
    ids = np.array(ids, np.int64)
    assert np.array_equal(id_kernels.order_of(ids), np.argsort(ids, kind="stable"))


def test_an_index_of_another_engine_answers_the_same():
    index = an_index(10, engine=Scan)
    index.add(as_hashes([2**63]), as_ids([4]))
    index.merge_now()
    assert isinstance(index._version.base, Scan)
    assert rows(index.within(2**63, 1)) == [(0, 4), (1, 0)]


def test_a_repeated_id_is_refused_when_building():
    with pytest.raises(ValueError, match="id 7 occurs more than once"):
        LiveIndex.build(as_hashes([1, 2, 3]), as_ids([7, 5, 7]))


@pytest.mark.parametrize(("hashes", "ids"), [([1, 2], [1]), ([1], [1, 2])])
def test_an_addition_of_unequal_lengths_is_refused_and_changes_nothing(hashes, ids):
    index = an_index(3)
    with pytest.raises(ValueError, match="ids must be int64"):
        index.add(as_hashes(hashes), as_ids(ids))
    assert as_dict(*index.contents()) == {0: 0, 1: 1, 2: 2}


def test_an_answer_of_a_version_taken_earlier_does_not_change(monkeypatch):
    index = an_index(100)
    index.add(as_hashes([1000]), as_ids([1000]))
    version = index._version
    index.remove(as_ids([5, 1000]))
    index.add(as_hashes([2000]), as_ids([6]))
    monkeypatch.setattr(index, "_version", version)
    assert rows(index.within(0, 64)) == plain_within({**{i: i for i in range(100)}, 1000: 1000}, 0, 64)


def wait_for_merge(index):
    deadline = time.monotonic() + 20
    while index._merge_scheduled:
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_tail_that_outgrows_its_threshold_is_merged_in_the_background(monkeypatch):
    monkeypatch.setattr(live, "_LEAST_MERGED", 100)
    index = an_index()
    for number in range(350):
        index.add(as_hashes([number]), as_ids([number]))
    wait_for_merge(index)
    assert len(index._version.base) >= 100
    assert len(index._version.tail) + len(index._version.base) == 350
    assert len(index) == 350


def test_each_full_tail_is_merged(monkeypatch):
    monkeypatch.setattr(live, "_LEAST_MERGED", 100)
    index = an_index()
    for start in range(0, 1000, 100):
        ids = np.arange(start, start + 100)
        index.add(ids.astype(np.uint64), ids)
        wait_for_merge(index)
        assert len(index._version.base) == start + 100


def test_removals_alone_lead_to_a_merge(monkeypatch):
    monkeypatch.setattr(live, "_LEAST_MERGED", 100)
    index = an_index(1000)
    for number in range(100):
        index.remove(as_ids([number]))
    wait_for_merge(index)
    assert len(index._version.base) == len(index) == 900


def test_a_merge_that_fails_is_logged_and_tried_again_later(monkeypatch, caplog):
    monkeypatch.setattr(live, "_LEAST_MERGED", 10)
    index = an_index(5, engine=InterruptedTree)

    def fail():
        raise MemoryError("no room for another base")

    InterruptedTree.meanwhile.append(fail)
    with caplog.at_level(logging.ERROR):
        index.add(np.arange(100, 110, dtype=np.uint64), np.arange(100, 110))
        wait_for_merge(index)
    assert "could not be merged" in caplog.text
    assert (len(index), len(index._version.tail)) == (15, 10)
    assert rows(index.within(105, 0)) == [(0, 105)]
    index.add(np.arange(200, 210, dtype=np.uint64), np.arange(200, 210))
    wait_for_merge(index)
    assert (len(index), len(index._version.tail)) == (25, 0)


def test_ten_thousand_single_additions_take_less_than_a_second():
    index = an_index(50_000)
    hashes = np.random.default_rng(0).integers(0, 2**64, 10_000, dtype=np.uint64)
    ids = np.arange(50_000, 60_000)
    start = time.process_time()
    for number in range(10_000):
        index.add(hashes[number : number + 1], ids[number : number + 1])
    assert time.process_time() - start < 1
    wait_for_merge(index)
    assert len(index) == 60_000
