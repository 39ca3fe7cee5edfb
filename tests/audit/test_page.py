"""The page of an audit: inert, complete, and as a browser shows it."""

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image

from app.audit import page as audit_page
from app.audit import write_audit
from app.audit.families import Audit
from app.audit.thumbnails import MISSING, SIDE, UNREADABLE
from app.storage import Pictures
from app.storage.local import LocalPictures
from tests.audit.made import HOSTILE, STRANGE, audit, family
from tests.pictures import drawn, encoded

VOID = {"meta", "input", "img", "br"}
Write = Callable[..., Path]


class Page(HTMLParser):
    """A page read by the standard parser: what scripts hold is text to it, as to a browser."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.inside: dict[str | None, str] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.inside[self.elements[-1][1].get("id")] = data
        else:
            self.texts.append(data.strip())

    def family(self, number: int) -> Any:
        return json.loads(self.inside[f"family-{number}"])

    @property
    def index(self) -> Any:
        return json.loads(self.inside["index"])


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    return LocalPictures(tmp_path / "pictures")


@pytest.fixture
def write(tmp_path: Path, pictures: Pictures) -> Write:
    """Write an audit as a page, with the picture of every image but those at places left out; the file."""

    def write(of: Audit, *, but: tuple[int, ...] = ()) -> Path:
        members = [member for each in of.families for member in each.members]
        for place, member in enumerate(members):
            if place not in but:
                pictures.files(member.image_id).rendition.write_bytes(encoded(drawn(place, (512, 384))))
        out = tmp_path / "audit.html"
        write_audit(of, pictures, out, "html")
        return out

    return write


def read(path: Path) -> Page:
    return Page(path.read_text("utf-8"))


def test_every_element_is_closed_and_hostile_texts_add_none(write: Write) -> None:
    plain, hostile = read(write(audit(*STRANGE.families[::2]))), read(write(STRANGE))
    assert (plain.open, hostile.open) == ([], [])
    names = [[tag for tag, _ in page.elements if tag != "script"] for page in (plain, hostile)]
    # The caution that three images were not compared is one more.
    assert len(names[1]) == len(names[0]) + 3
    scripts = [told for tag, told in hostile.elements if tag == "script"]
    assert [told.get("id") for told in scripts] == ["index", "family-1", "family-2", "family-3", None]
    assert {told.get("type") for told in scripts[:-1]} == {"application/json"}


def test_only_the_one_script_may_run_and_nothing_is_loaded(write: Write) -> None:
    text = write(STRANGE).read_text("utf-8")
    page = Page(text)
    (policy,) = [
        told["content"] for _, told in page.elements if told.get("http-equiv") == "Content-Security-Policy"
    ]
    script = page.inside[None]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}';"
        " base-uri 'none'; form-action 'none'"
    )
    assert not {"src", "href"} & {name for _, told in page.elements for name in told}
    assert [name for _, told in page.elements for name in told if name.startswith("on")] == []
    without = script.replace("http://www.w3.org/2000/svg", "")
    assert re.findall(r"https?:|innerHTML|eval|insertAdjacent|document\.write|fetch|XMLHttp", without) == []


def test_a_family_holds_all_that_is_told_of_its_images(write: Write) -> None:
    page = read(write(STRANGE))
    second = page.family(2)["images"][1]
    assert second["file_name"] == HOSTILE
    assert second["labels"]["count"] == -7
    assert second["match"]["words"] == "same file as image 1"
    first = page.family(1)
    assert first["first_day"] == "2026-11-20"
    assert first["images"][1]["match"]["evidence"]["share"] == 0.34
    assert page.index[0] == [["edited_copy"], ["KD-1", "KD-2", "KD-3"]]


def test_thumbnails_are_small_jpegs(write: Write) -> None:
    (first, _, _) = read(write(STRANGE)).family(1)["images"]
    with Image.open(io.BytesIO(base64.b64decode(first["jpeg"]))) as thumbnail:
        assert thumbnail.format == "JPEG"
        assert thumbnail.size == (SIDE, SIDE * 3 // 4)


def test_the_first_dozen_of_a_family_have_thumbnails(write: Write) -> None:
    images = read(write(audit(family([f"KD-{number}" for number in range(30)])))).family(1)["images"]
    assert ["jpeg" in image for image in images] == [True] * 12 + [False] * 18
    assert len(images) == 30


def test_a_picture_that_is_not_there_or_can_not_be_read_says_so(write: Write, pictures: Pictures) -> None:
    whole = encoded(drawn(1, (512, 384)))
    members = STRANGE.families[0].members
    page = read(write(STRANGE, but=(0,)))
    for bad in (b"", b"no picture at all", whole[: len(whole) // 2], whole[:30]):
        pictures.files(members[1].image_id).rendition.write_bytes(bad)
        out = pictures.root.parent / "again.html"
        write_audit(STRANGE, pictures, out, "html")
        page = read(out)
        missing, unreadable, fine = page.family(1)["images"]
        assert (missing["without"], unreadable["without"]) == (MISSING, UNREADABLE)
        assert "jpeg" in fine


def test_a_page_has_no_more_thumbnails_than_a_browser_can_take(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_page, "MOST_THUMBNAIL_BYTES", 1)
    page = read(write(STRANGE))
    images = [image for number in (1, 2, 3) for image in page.family(number)["images"]]
    assert ["jpeg" in image for image in images] == [True] + [False] * 6
    assert all("left out" in image["without"] for image in images[1:])


def test_the_page_says_as_of_when_it_is_and_what_was_not_compared(write: Write) -> None:
    texts = read(write(STRANGE)).texts
    assert "2026-11-22 at 09:30:00 UTC" in texts
    assert texts[texts.index("Of these not compared yet") + 1 :][:2].count("3") == 1
    assert "Not complete" in texts
    assert "Not complete" not in read(write(audit(*STRANGE.families))).texts


def test_memory_does_not_grow_with_thumbnails(write: Write, tmp_path: Path) -> None:
    """Families are written one by one: while one is made, those before it are in the file."""
    sizes: list[int] = []
    beside = tmp_path / "audit.html.new"
    many = audit(*(family([f"KD-{number}-a", f"KD-{number}-b"]) for number in range(40)))
    write(many)
    write_audit(
        many,
        LocalPictures(tmp_path / "pictures"),
        tmp_path / "audit.html",
        "html",
        lambda _: sizes.append(beside.stat().st_size),
    )
    assert sizes[-1] > 0.8 * (tmp_path / "audit.html").stat().st_size
    assert len(set(sizes)) > 5


@pytest.fixture(scope="module")
def browser() -> str:
    """A browser that shows pages without a screen."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("no Chromium here: what the page's script shows is not looked at")


@pytest.fixture
def shown(browser: str, tmp_path: Path) -> Callable[..., str]:
    """The elements of a page once its script ran, as HTML without data blocks; the address may have a fragment."""

    def shown(path: Path, fragment: str = "") -> str:
        done = subprocess.run(
            [
                browser,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                f"--user-data-dir={tmp_path / 'browser'}",
                "--dump-dom",
                f"file://{quote(str(path))}#{fragment}",
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return re.sub(r"<script.*?</script>", "", done.stdout, flags=re.DOTALL)

    return shown


def test_a_browser_shows_families_with_their_pictures(write: Write, shown: Callable[..., str]) -> None:
    text = shown(write(STRANGE))
    assert "Family 1: 3 images of 3 claims" in text
    assert "edited copy of image 1: mirrored, turned 12° clockwise" in text
    assert text.index("<h2>Across claims") < text.index("Family 1:") < text.index("<h2>Same-claim repeats")
    assert text.index("<h2>Same-claim repeats") < text.index("Family 3: 2 images of 1 claim<")
    assert text.count('<img src="data:image/jpeg;base64,') == 7
    assert "The families are being read" not in text


def test_a_browser_shows_hostile_texts_as_texts(write: Write, shown: Callable[..., str]) -> None:
    text = shown(write(STRANGE))
    assert "<title>Claimprint duplicates" in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert '<img src="x"' not in text
    assert "-x = =1+1" in text


@pytest.mark.parametrize(
    ("fragment", "families"),
    [
        ("claim=kd-5", [2]),
        ("claim=kd", [1, 2, 3]),
        ("claim=nobody", []),
        ("kind=same_file", [2]),
        ("where=within", [3]),
        ("where=across&kind=edited_copy", [1]),
        ("page=9", [1, 2, 3]),
    ],
)
def test_a_browser_shows_the_families_that_are_asked_for(
    write: Write, shown: Callable[..., str], fragment: str, families: list[int]
) -> None:
    text = shown(write(STRANGE), fragment)
    assert [int(number) for number in re.findall(r"<h3>Family (\d+):", text)] == families
    assert ("No family is like that." in text) == (families == [])


def test_a_browser_shows_few_images_of_a_hub_and_those_that_are_looked_for_first(
    write: Write, shown: Callable[..., str]
) -> None:
    path = write(audit(family([f"KD-{number:03}" for number in range(100)])))
    text = shown(path)
    assert text.count('class="card"') == 12
    assert "88 images more" in text
    found = shown(path, "claim=kd-077")
    assert found.index(">KD-077<") < found.index(">KD-000<")


def test_a_browser_shows_many_families_in_pages(write: Write, shown: Callable[..., str]) -> None:
    many = audit(*(family([f"KD-{number}-a", f"KD-{number}-b"]) for number in range(45)))
    text = shown(write(many), "page=3")
    assert [int(number) for number in re.findall(r"<h3>Family (\d+):", text)] == [41, 42, 43, 44, 45]
    assert "Page 3 of 3, 45 of 45 families" in text


def test_a_browser_shows_a_grey_box_that_says_why(write: Write, shown: Callable[..., str]) -> None:
    text = shown(write(STRANGE, but=(0,)))
    assert f'<div class="without"><p class="">{MISSING}</p></div>' in text


def test_a_browser_says_that_there_is_no_family(write: Write, shown: Callable[..., str]) -> None:
    assert "There is no family." in shown(write(audit()))
