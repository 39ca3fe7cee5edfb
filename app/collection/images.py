"""The whole-image hashes of all images: one Hamming index each, colours by scan, verifiers by id."""

import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from sqlalchemy import Connection

from app.catalog import stamps
from app.catalog.templates import Templates, switched_on
from app.collection.current import Current
from app.collection.replica import Contents, Replica
from app.index.live import LiveIndex
from app.index.protocol import Engine
from app.index.verifiers import Verifiers
from app.index.wide import WideScan

# The name of the index over colour codes: of two words, and searched by scan.
COLOURS = "colorhash"


class TableIndex(Replica[stamps.Changes]):
    """The Hamming indexes of whole-image hashes, the verifiers, and the templates that images are compared with.

    The ids in them are `created_seq`: unique, never reused, and in upload order.
    """

    def __init__(
        self, loaded: stamps.Loaded, templates: Templates, identity: tuple[int, int], hamming: type[Engine]
    ):
        super().__init__(generation=loaded.generation, last=loaded.last, identity=identity)
        self.templates = templates
        filled = slice(None) if loaded.filled.all() else loaded.filled
        seqs, later_seqs = loaded.seqs, loaded.seqs[filled]
        # What takes long in all of these lets go of the GIL.
        with ThreadPoolExecutor(len(os.sched_getaffinity(0)), "index-build") as builders:

            def build(
                hashes: np.ndarray, ids: np.ndarray, engine: type[Engine] = hamming
            ) -> Future[LiveIndex]:
                return builders.submit(LiveIndex.build, hashes, ids, engine=engine)

            building = {
                **{name: build(loaded.hashes[name], seqs) for name in stamps.FIRST_HASHES},
                stamps.LATER_HASH: build(loaded.hashes[stamps.LATER_HASH][filled], later_seqs),
                COLOURS: build(loaded.colour_codes[filled], later_seqs, WideScan),
            }
            self.verifiers = builders.submit(Verifiers, seqs, loaded.verifiers, loaded.pages).result()
            self.indexes: Mapping[str, LiveIndex] = {name: built.result() for name, built in building.items()}
        self._to_fill = set(loaded.seqs[~loaded.filled].tolist())

    def __len__(self) -> int:
        return len(self.indexes[stamps.FIRST_HASHES[0]])

    def lacking(self, name: str) -> int:
        """Number of images that this hash was not computed for yet: a search by it would not find them."""
        return 0 if name in stamps.FIRST_HASHES else len(self._to_fill)

    def read_changes(self, connection: Connection, *, up_to: int, limit: int) -> stamps.Changes:
        """Read with every column that is held."""
        changes = stamps.changes_after(connection, self.last, up_to=up_to, limit=limit)
        # Before `last` moves: whoever finds an image applied finds all templates that are older than it.
        if changes.newest_template != self.templates.newest:
            self.templates = switched_on(connection)
        return changes

    def apply(self, changes: stamps.Changes) -> None:
        """Make changes findable."""
        # Only the newest change of an image counts; the reads are in stamp order, one row an image.
        stay = changes.searchable
        filled = stay & changes.filled
        # Before the hashes: what a search finds has its verifier.
        self.verifiers.put(changes.changed[stay], changes.verifiers[stay], changes.pages[stay])
        for name, index in self.indexes.items():
            known = stay if name in stamps.FIRST_HASHES else filled
            if not known.all():
                index.remove(changes.changed[~known])
            if known.any():
                hashes = changes.colour_codes if name == COLOURS else changes.hashes[name]
                index.add(hashes[known], changes.changed[known])
        self._to_fill.difference_update(changes.changed.tolist())
        self._to_fill.update(changes.changed[stay & ~filled].tolist())

    def held(self) -> Contents:
        """Hashes uint64[n] by name, COLOURS uint64[n, 2], "verifier" uint64[n, 4], "page" bool[n]."""
        found = {name: index.contents() for name, index in self.indexes.items()}
        _, ids = found[stamps.FIRST_HASHES[0]]
        return found | {"verifier": (self.verifiers.of(ids), ids), "page": (self.verifiers.pages(ids), ids)}


class Collection(Current[TableIndex]):
    """The current TableIndex of this process."""

    def load(self, connection: Connection, identity: tuple[int, int]) -> TableIndex:
        """Read the whole table by binary COPY, then the templates: none is missing that is older than an image."""
        loaded = stamps.load(connection)
        with connection.begin():
            templates = switched_on(connection)
        return TableIndex(loaded, templates, identity, self._hamming)
