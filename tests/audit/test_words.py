from dataclasses import replace
from typing import Any

import pytest

from app.audit.words import KINDS, link_words, source_words
from app.fingerprints.orientation import TRANSFORMS
from app.matching.kinds import COPIES
from tests.audit.made import LIE, LINK


def test_every_kind_that_joins_and_every_transform_has_words() -> None:
    assert KINDS.keys() == COPIES
    told = {
        link_words(replace(LINK, kind="near_duplicate", transform=transform, lie=None))
        for transform in TRANSFORMS
    }
    assert len(told) == len(TRANSFORMS)


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        (LIE, "mirrored, turned 12° clockwise, scaled by 0.62, in common 34% of this and 80% of that"),
        (
            replace(LIE, mirrored=False, angle=90.2, scale=1.01, share=1.0, other_share=0.98),
            "turned 90° counter-clockwise",
        ),
        (replace(LIE, mirrored=False, angle=0.3, scale=1, share=1, other_share=1, negative=True), "negative"),
    ],
)
def test_how_a_picture_lies_is_told_in_words(lie: Any, words: str) -> None:
    assert link_words(replace(LINK, to=4, lie=lie)) == f"edited copy of image 5: {words}"


def test_nothing_is_told_of_how_a_picture_lies_that_lies_as_the_other() -> None:
    lie = replace(LIE, mirrored=False, angle=0.0, scale=1.0, share=1.0, other_share=1.0)
    assert link_words(replace(LINK, lie=lie)) == "edited copy of image 1"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (None, ""),
        ({"path": "in/a.jpg"}, "in/a.jpg"),
        (
            {
                "path": "mail.zip",
                "within": [
                    {"kind": "zip", "name": "inbox/7.msg", "position": 3},
                    {"kind": "message", "subject": "Our\nfridge", "name": "letter.pdf", "position": 1},
                    {"kind": "pdf", "page": 2, "position": 1},
                ],
            },
            'mail.zip > inbox/7.msg > letter.pdf (message "Our fridge") > page 2, picture 1',
        ),
        ({"path": "a.tar", "within": [{"kind": "tar", "position": 9}]}, "a.tar > tar 9"),
        ({"camera": 1}, '{"camera": 1}'),
        ({"path": "a", "within": "b"}, '{"path": "a", "within": "b"}'),
        (["a", {"path": 1}], '["a", {"path": 1}]'),
        ("plain", '"plain"'),
    ],
)
def test_a_source_is_one_line_whatever_it_holds(source: Any, words: str) -> None:
    assert source_words(source) == words
