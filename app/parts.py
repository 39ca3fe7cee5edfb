"""The parts of one process: what every door works with, made in one place and passed on."""

from dataclasses import dataclass

from sqlalchemy import Engine

from app.catalog.session import make_engine
from app.catalog.watchdog import Watchdog
from app.collection import Collection, KeypointCollection, PatternCollection, SegmentCollection
from app.decoders import start_decoders
from app.imaging import Decoders
from app.index.engines import ENGINES
from app.ingest import Intake
from app.matching.kinds import Rule
from app.screening import Screening
from app.search import Search, searchers_by_hash
from app.settings import Settings
from app.storage import Pictures, Reports, open_pictures


@dataclass(frozen=True, slots=True)
class Parts:
    """The database, what of it is in memory, the pictures, and the intake that feeds them."""

    settings: Settings
    engine: Engine
    collection: Collection
    segments: SegmentCollection
    patterns: PatternCollection
    keypoints: KeypointCollection
    search: Search
    pictures: Pictures
    template_pictures: Pictures
    reports: Reports
    intake: Intake
    watchdog: Watchdog

    def close(self) -> None:
        """End the threads, decoding processes and connections."""
        self.watchdog.stop()
        self.intake.close()
        self.intake.decoders.close()
        self.pictures.close()
        self.template_pictures.close()
        self.engine.dispose()


def rule_from(settings: Settings) -> Rule:
    """The rule by which pictures match."""
    return Rule(
        near=settings.near_duplicate_distance,
        verifier=settings.verifier_distance,
        page_verifier=settings.page_verifier_distance,
        near_score=settings.near_duplicate_score,
        near_shift=settings.near_duplicate_shift,
        copy_strength=settings.copy_strength,
        copy_cover=settings.copy_cover,
        text_copy_share=settings.text_copy_share,
        scene_inliers=settings.scene_inliers,
        layout_apart=settings.layout_apart,
    )


def make_parts(settings: Settings, *, decoders: Decoders | None = None) -> Parts:
    """Make the parts of a process on the database that `settings.database_url` names, which is not asked yet.

    Its decoding processes start at once, in the background, unless some are given.
    """
    engine = make_engine(settings, settings.database_url)
    hamming = ENGINES[settings.index_engine]
    collection, segments = Collection(engine, hamming), SegmentCollection(engine, hamming)
    patterns, keypoints = PatternCollection(engine, hamming), KeypointCollection(engine, hamming)
    pictures, template_pictures = open_pictures(settings), open_pictures(settings, "templates")
    intake = Intake(
        engine=engine,
        screening=Screening(collection, keypoints, pictures, rule_from(settings)),
        decoders=decoders or start_decoders(settings),
        max_file_bytes=settings.max_file_bytes,
    )
    return Parts(
        settings=settings,
        engine=engine,
        collection=collection,
        segments=segments,
        patterns=patterns,
        keypoints=keypoints,
        search=Search(
            engine,
            searchers_by_hash(collection, segments, patterns, keypoints, pictures, rule_from(settings)),
        ),
        pictures=pictures,
        template_pictures=template_pictures,
        reports=Reports(settings.data_dir / "reports"),
        intake=intake,
        watchdog=Watchdog(engine),
    )
