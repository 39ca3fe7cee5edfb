"""Which images are a family, in what order families come, and what each image is told to be."""

import datetime as dt
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from app.audit.reading import read_audit
from app.catalog.audit import one_moment
from app.catalog.filters import Filter
from app.catalog.models import image
from app.matching.evidence import of_whole
from app.matching.kinds import COPIES, KINDS
from tests.audit.stored import EVERYTHING, Edge, add, audited, join, joined, partition

NEAR = "near_duplicate"


@st.composite
def collections(draw: st.DrawFn, count: int = 9) -> tuple[list[str], list[Edge]]:
    """Claims of so many images, and matches between them, of any kind, in any order."""
    claims = draw(st.lists(st.sampled_from(["KD-1", "KD-2", "KD-3"]), min_size=count, max_size=count))
    places = st.integers(0, count - 1)
    pairs = draw(
        st.lists(st.tuples(places, places).filter(lambda pair: pair[0] < pair[1]), unique=True, max_size=14)
    )
    return claims, [(*pair, draw(st.sampled_from(KINDS)), draw(st.integers(0, 3))) for pair in pairs]


def plain_families(count: int, edges: list[Edge]) -> list[list[int]]:
    """Places of images that copies join, two and more, by plain union-find."""
    parent = list(range(count))

    def root(place: int) -> int:
        while parent[place] != place:
            place = parent[place]
        return place

    for earlier, later, kind, _ in edges:
        if kind in COPIES:
            parent[root(earlier)] = root(later)
    families: dict[int, list[int]] = {}
    for place in range(count):
        families.setdefault(root(place), []).append(place)
    return [family for family in families.values() if len(family) > 1]


def store(engine: Engine, images: list[UUID], claims: list[str], edges: list[Edge]) -> None:
    """Make these the claims and matches of the images."""
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM match"))
        for image_id, claim in zip(images, claims, strict=True):
            connection.execute(
                text("UPDATE image SET claim_id = :claim WHERE image_id = :id"),
                {"claim": claim, "id": image_id},
            )
        join(connection, images, edges)


# The images are stored once, as no other example needs any of its own.
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_families_are_those_of_plain_union_find_in_whatever_order_rows_come(
    engine: Engine, data: st.DataObject
) -> None:
    count = 9
    with engine.connect() as connection:
        images = list(connection.execute(text("SELECT image_id FROM image ORDER BY created_seq")).scalars())
    images = images or add(engine, ["KD-1"] * count)
    claims, edges = data.draw(collections(count))
    store(engine, images, claims, edges)
    first = audited(engine)

    def place_of_family(family: list[int]) -> Any:
        inside = {claims[place] for place in family}
        least = min((sha256s[images[place]], images[place]) for place in family)
        return len(inside) == 1, -len(family), -len(inside), least

    with engine.connect() as connection:
        rows = connection.execute(text("SELECT image_id, sha256 FROM image"))
        sha256s = {row.image_id: bytes(row.sha256) for row in rows}
    wanted = sorted(plain_families(count, edges), key=place_of_family)
    assert partition(first) == [[images[place] for place in family] for family in wanted]
    for family, places in zip(first.families, wanted, strict=True):
        assert family.claims == len({claims[place] for place in places})
        for member, place in zip(family.members, places, strict=True):
            earlier = [
                (KINDS.index(kind), nearest, one, kind)
                for one, other, kind, nearest in edges
                if other == place and kind in COPIES
            ]
            best = min(earlier, default=None)
            told = member.link and (member.link.kind, member.link.nearest, places[member.link.to])
            assert told == (best and (best[3], best[1], best[2]))
    store(engine, images, claims, data.draw(st.permutations(edges)))
    assert audited(engine).families == first.families


def test_families_of_one_size_come_in_one_order_whoever_was_uploaded_first(engine: Engine) -> None:
    claims = [f"KD-{number}" for number in range(8)]
    images = add(engine, claims)
    pairs = [(0, 1), (2, 3), (4, 5), (6, 7)]
    with engine.begin() as connection:
        join(connection, images, [(*pair, NEAR, 3) for pair in pairs])
    before = [{member.sha256 for member in family.members} for family in audited(engine).families]
    with engine.begin() as connection:
        # As if the last pair had come first: all bytes and ids are those of the image that mirrors it.
        rows = connection.execute(text("SELECT id, image_id, sha256, claim_id FROM image ORDER BY id")).all()
        connection.execute(
            text("UPDATE image SET image_id = gen_random_uuid(), sha256 = sha256(image_id::text::bytea)")
        )
        for row, other in zip(rows, reversed(rows), strict=True):
            connection.execute(
                text(
                    "UPDATE image SET image_id = :image_id, sha256 = :sha256, claim_id = :claim WHERE id = :id"
                ),
                {"id": row.id, "image_id": other.image_id, "sha256": other.sha256, "claim": other.claim_id},
            )
    after = [{member.sha256 for member in family.members} for family in audited(engine).families]
    assert after == before


def test_the_same_scene_joins_nothing(engine: Engine) -> None:
    joined(engine, ["KD-1", "KD-2", "KD-3"], [(0, 1, "same_scene", 0), (1, 2, "same_scene", 0)])
    assert audited(engine).families == []


def test_the_same_scene_neither_joins_families_nor_tells_of_their_images(engine: Engine) -> None:
    edges = [(0, 1, NEAR, 5), (1, 2, "same_scene", 0), (2, 3, NEAR, 5)]
    images = joined(engine, ["KD-1", "KD-2", "KD-3", "KD-4"], edges)
    found = audited(engine)
    assert sorted(map(sorted, partition(found))) == sorted([sorted(images[:2]), sorted(images[2:])])
    assert [member.link for family in found.families for member in family.members[:1]] == [None, None]


def test_families_across_claims_come_first_however_large_others_are(engine: Engine) -> None:
    claims = ["KD-1", "KD-1", "KD-1", "KD-1", "KD-2", "KD-3", "KD-4", "KD-5", "KD-5"]
    edges = [(0, 1), (1, 2), (2, 3), (4, 5), (6, 7), (7, 8)]
    images = joined(engine, claims, [(*pair, "same_file", 0) for pair in edges])
    found = audited(engine)
    assert partition(found) == [images[6:], images[4:6], images[:4]]
    assert (found.across, found.members, found.claims) == (2, 9, 5)
    assert [family.across for family in found.families] == [True, True, False]


def test_of_families_of_as_many_images_the_one_of_more_claims_comes_first(engine: Engine) -> None:
    claims = ["KD-1", "KD-1", "KD-2", "KD-3", "KD-4", "KD-5"]
    images = joined(engine, claims, [(*pair, NEAR, 0) for pair in [(0, 1), (1, 2), (3, 4), (4, 5)]])
    assert partition(audited(engine)) == [images[3:], images[:3]]


def test_a_hub_of_thousands_is_one_family(engine: Engine) -> None:
    count = 3000
    (first,) = add(engine, ["KD-0"])
    with engine.begin() as connection:
        own = {"id", "image_id", "sha256", "claim_id", "created_seq", "change_seq"}
        names = ", ".join(
            column.name for column in image.columns if column.name not in own and not column.computed
        )
        connection.execute(
            text(
                f"INSERT INTO image (image_id, sha256, claim_id, {names}) SELECT gen_random_uuid(),"
                f" sha256(n::text::bytea), 'KD-' || n, {names} FROM image, generate_series(1, :last) n"
                " WHERE image_id = :first"
            ),
            {"last": count - 1, "first": first},
        )
        connection.execute(
            text(
                "INSERT INTO match (match_id, earlier_id, later_id, kind, rank, nearest, distances, transform,"
                " rule_version) SELECT gen_random_uuid(), e.id, l.id, 'same_pixels', 1, 0, '{}', 'identity', 6"
                " FROM image e JOIN image l ON e.created_seq < l.created_seq"
                " AND (l.created_seq - e.created_seq < 40 OR e.image_id = :first)"
            ),
            {"first": first},
        )
    (family,) = audited(engine).families
    assert (len(family.members), family.claims) == (count, count)
    assert {member.link and member.link.to for member in family.members} == {None, 0}


def test_an_image_that_only_later_ones_join_has_no_match_of_its_own(engine: Engine) -> None:
    joined(engine, ["KD-1", "KD-2", "KD-3"], [(0, 2, NEAR, 4), (1, 2, "same_pixels", 0)])
    ((first, second, third),) = [family.members for family in audited(engine).families]
    assert (first.link, second.link) == (None, None)
    assert third.link is not None
    assert (third.link.kind, third.link.to) == ("same_pixels", 1)


def test_a_deleted_image_is_in_no_family(engine: Engine) -> None:
    images = joined(engine, ["KD-1", "KD-2", "KD-3"], [(0, 1, NEAR, 4), (1, 2, NEAR, 4)])
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE image SET deleted_at = clock_timestamp() WHERE image_id = :id"), {"id": images[1]}
        )
    found = audited(engine)
    assert found.families == []
    assert found.images == 2


def test_images_that_were_not_compared_yet_are_counted(engine: Engine) -> None:
    images = joined(engine, ["KD-1", "KD-2", "KD-3", "KD-4"], [(0, 1, NEAR, 4)])
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE image SET screened_at = NULL WHERE image_id = :id"), {"id": images[1]}
        )
        connection.execute(
            text("UPDATE image SET keypoint_count = NULL WHERE image_id = :id"), {"id": images[2]}
        )
    found = audited(engine)
    assert (found.images, found.not_compared_yet, len(found.families)) == (4, 2, 1)


def test_with_labels_and_days_the_images_of_these_alone_are_joined(engine: Engine) -> None:
    images = joined(engine, ["KD-1", "KD-2", "KD-3"], [(0, 1, NEAR, 4), (1, 2, NEAR, 4)])
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE image SET labels = CAST(:labels AS jsonb) WHERE image_id = ANY(:ids)"),
            {"labels": '{"plant": "B", "claimed_at": "2026-02-03"}', "ids": images[1:]},
        )
    (family,) = audited(engine, Filter({"plant": "B"})).families
    assert [member.image_id for member in family.members] == images[1:]
    assert family.first_day == dt.date(2026, 2, 3)
    # The one that an image has with another that is left out is not told.
    assert family.members[0].link is None
    assert audited(engine, Filter({}, dt.date(2026, 2, 4))).families == []


def test_what_is_deleted_while_it_is_read_is_in_the_report_of_that_moment(engine: Engine) -> None:
    images = joined(engine, ["KD-1", "KD-2"], [(0, 1, NEAR, 4)])
    asked = []

    def delete() -> None:
        if not asked:
            with engine.begin() as connection:
                connection.execute(text("DELETE FROM match"))
                connection.execute(
                    text("UPDATE image SET deleted_at = clock_timestamp(), file_name = 'gone'")
                )
        asked.append(True)

    found = read_audit(engine, EVERYTHING, delete)
    assert partition(found) == [images]
    assert found.families[0].members[0].file_name == "drawn.jpg"
    assert len(asked) > 1
    assert audited(engine).families == []


def test_a_report_tells_of_which_moment_it_is(engine: Engine) -> None:
    with engine.connect() as connection:
        before = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    found = audited(engine)
    with engine.connect() as connection:
        after = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    assert before < found.as_of < after
    assert (found.families, found.images, found.not_compared_yet) == ([], 0, 0)


def test_nothing_can_be_changed_while_an_audit_is_read(engine: Engine) -> None:
    add(engine, ["KD-1"])
    with one_moment(engine) as (connection, _), pytest.raises(Exception, match="read-only"):
        connection.execute(text("UPDATE image SET file_name = 'x'"))


def test_how_an_image_lies_on_the_earlier_one_is_told(engine: Engine) -> None:
    evidence = of_whole("mirror", (512, 384), (256, 192)).to_json()
    evidence["region"] = [[0, 0], [256, 0], [256, 384], [0, 384]]
    joined(engine, ["KD-1", "KD-2"], [(0, 1, "edited_copy", 4)], transform="mirror", evidence=evidence)
    (family,) = audited(engine).families
    link = family.members[1].link
    assert link is not None
    assert link.lie is not None
    assert (link.lie.mirrored, link.lie.negative, link.lie.scale, link.lie.angle) == (True, False, 0.5, 0)
    # Of 640 x 480 pixels the renditions have 512 x 384.
    assert (link.lie.share, link.lie.other_share) == (0.5, 0.25)
