"""An audit's findings in words: what an image is to an earlier one, and where its file came from."""

import json
from collections.abc import Mapping
from typing import Any

from app.audit.families import Lie, Link

KINDS = {
    "same_file": "same file as",
    "same_pixels": "same picture as",
    "near_duplicate": "near duplicate of",
    "edited_copy": "edited copy of",
}
_TRANSFORMS = {
    "identity": "",
    "mirror": "mirrored",
    "rotate_90": "turned 90° counter-clockwise",
    "rotate_180": "turned 180°",
    "rotate_270": "turned 90° clockwise",
    "flip": "mirrored top to bottom",
    "transpose": "mirrored, and turned 90° counter-clockwise",
    "transverse": "mirrored, and turned 90° clockwise",
}
_THE_SAME = ("same_file", "same_pixels")
_STILL = 0.5  # degrees: less is how the corners of an unturned picture are rounded
_SAME_SIZE = 0.02
_ALL = 0.97  # of a picture, whose rim may be beside that of the other


def link_words(link: Link) -> str:
    """What an image is to the earlier one, which is named by its number in the family, and how it lies there.

    >>> link_words(Link(0, "near_duplicate", "mirror", 14, {"verifier": 14}, None))
    'near duplicate of image 1: mirrored'
    """
    lie = None if link.kind in _THE_SAME else link.lie
    how = _TRANSFORMS[link.transform] if lie is None else _lie_words(lie)
    return f"{KINDS[link.kind]} image {link.to + 1}" + (f": {how}" if how else "")


def source_words(source: Any) -> str:
    """Where a file came from, on one line; "" where it was uploaded by itself.

    >>> source_words({"path": "a.zip", "within": [{"kind": "zip", "name": "b.pdf", "position": 1},
    ...     {"kind": "pdf", "page": 2, "position": 3}]})
    'a.zip > b.pdf > page 2, picture 3'
    """
    if source is None:
        return ""
    within = source.get("within", []) if isinstance(source, Mapping) else None
    # What some later version stores is shown as it is, too.
    if not isinstance(within, list) or not all(isinstance(step, Mapping) for step in within):
        return _line(json.dumps(source, ensure_ascii=False))
    path = source.get("path")
    if not isinstance(path, str):
        return _line(json.dumps(source, ensure_ascii=False))
    return _line(" > ".join([path, *map(_step_words, within)]))


def _lie_words(lie: Lie) -> str:
    parts = ["mirrored"] if lie.mirrored else []
    if abs(lie.angle) > _STILL:
        way = "counter-clockwise" if lie.angle > 0 else "clockwise"
        parts.append(f"turned {abs(lie.angle):.0f}° {way}")
    if abs(lie.scale - 1) > _SAME_SIZE:
        parts.append(f"scaled by {lie.scale:.2f}")
    if lie.negative:
        parts.append("negative")
    if min(lie.share, lie.other_share) < _ALL:
        parts.append(f"in common {lie.share:.0%} of this and {lie.other_share:.0%} of that")
    return ", ".join(parts)


def _step_words(step: Mapping[str, Any]) -> str:
    name, page, position = step.get("name"), step.get("page"), step.get("position")
    parts = [str(name)] if name else []
    parts += [f"page {page}"] if page else []
    if not name:
        parts.append(f"picture {position}" if page else f"{step.get('kind', 'part')} {position}")
    subject = step.get("subject")
    return ", ".join(parts) + (f' (message "{subject}")' if subject else "")


def _line(text: str) -> str:
    return " ".join(text.split())
