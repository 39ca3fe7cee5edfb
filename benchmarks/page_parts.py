"""`python -m benchmarks.page_parts`: whether pages of one layout are told to be copies, by the whole rule.

Drawn receipts, letters and forms, each kind of one layout with other words: as drawn, and as `benchmarks.suite`
photographs them. Each is compared with all others of its kind, as both are and as drawn; and with itself as drawn.
And how many photos are taken for text?
"""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import click
from PIL import Image

from app.matching.evidence import Evidence, examine, is_text_around
from app.matching.kinds import COPIES, compare
from app.matching.overlaps import find_overlap
from app.parts import rule_from
from app.settings import Settings
from benchmarks.copies import photo_files
from benchmarks.edited import OTHERS, Looked, look
from benchmarks.edits import shrunk
from benchmarks.pages import form
from benchmarks.report import show, table
from benchmarks.suite import edit
from tests.pictures import encoded, letter, receipt

KINDS: dict[str, Callable[[int], Image.Image]] = {"receipts": receipt, "letters": letter, "forms": form}
SEEN = (
    "as drawn",
    "perspective, mild",
    "perspective, strong, on a table",
    "in a letter",
    "photographed screen",
)
PAGES_OF_A_KIND = 12
EVERY = 5  # of the photos


def _page(kind: str, seed: int, seen: str) -> Looked:
    page = KINDS[kind](seed)
    if seen == SEEN[0]:
        return look(encoded(page))
    around = [
        shrunk(Image.open(path)) for path in photo_files()[seed :: len(photo_files()) // OTHERS][:OTHERS]
    ]
    return look(edit(seen, shrunk(page), around, seed).jpeg)


def _is_copy(query: Looked, other: Looked) -> bool:
    evidence: Evidence | None = None
    own, stored = query.points, other.points.stored
    overlap = find_overlap(own, query.grey.size, stored, other.grey.size)
    if overlap is not None:
        evidence = examine(query.grey, own, other.grey, overlap, stored)
    found = compare(query.picture, other.picture, rule_from(Settings.model_construct()), evidence)
    return found is not None and found.kind in COPIES


def _is_text(path: Path) -> bool:
    seen = look(path.read_bytes())
    return len(seen.points) > 0 and is_text_around(seen.grey, seen.points.places[:, :2])


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(*, as_json: bool) -> None:
    """Compare them."""
    rows, counts = [], {}
    with ProcessPoolExecutor() as processes:
        for kind in KINDS:
            pages: dict[str, list[Looked]] = {}
            for seen in SEEN:
                tasks = [kind] * PAGES_OF_A_KIND, range(PAGES_OF_A_KIND), [seen] * PAGES_OF_A_KIND
                pages[seen] = list(processes.map(_page, *tasks))
            for seen, own in pages.items():
                drawn = pages[SEEN[0]]
                pairs = [
                    (one, others[number])
                    for others in ([own] if seen == SEEN[0] else [own, drawn])
                    for place, one in enumerate(own)
                    for number in range(PAGES_OF_A_KIND)
                    if number != place
                ]
                strangers = sum(processes.map(_is_copy, *zip(*pairs, strict=True), chunksize=8))
                found = sum(processes.map(_is_copy, own, drawn))
                counts[f"{kind}, {seen}"] = strangers
                rows.append([f"{kind}, {seen}", f"{strangers} of {len(pairs)}", f"{found} of {len(own)}"])
        photos = photo_files()[::EVERY]
        text = sum(processes.map(_is_text, photos, chunksize=8))
    rows.append([f"photos taken for text: {text} of {len(photos)}", "", ""])
    counts["photos taken for text"] = text
    show(counts, table(["pages", "strangers told copies", "copies found"], rows), [], as_json=as_json)


if __name__ == "__main__":
    main()
