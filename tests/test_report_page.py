import base64
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser

import matplotlib as mpl
import pytest

from app.contact_sheets import mean_picture
from app.report_page import Report, Section, report_page
from tests.pictures import drawn

VOID = {"meta", "img", "link", "br", "hr", "input", "base"}
WEEKS = [date(2026, 1, 5) + timedelta(weeks=number) for number in range(12)]
COUNTS = (0, 3, 14, 15, 9, 2, 6, 5, 3, 5, 8, 9)
MEAN = mean_picture([drawn(1)])
SECTION = Section(
    title="Cluster 1",
    anchor="cluster-1",
    images=1234,
    claims=1200,
    first_seen=WEEKS[0],
    last_seen=WEEKS[-1],
    facts=[("Medoid", "KD-0042")],
    weekly=COUNTS,
    labels={"damage": [("scratch", 617), ("dent", 12)]},
    sheet=MEAN,
    mean=MEAN,
)
REPORT = Report(
    made_at=datetime(2026, 3, 30, 14, 5, tzinfo=UTC),
    facts=[("Radius", "10 bits")],
    weeks=WEEKS,
    clusters=[SECTION, replace(SECTION, title="Cluster 2", anchor="cluster-2")],
    templates=[replace(SECTION, title="Template 1", anchor="template-1")],
    cautions=["Alike is not the same."],
)
EMPTY = Report(made_at=REPORT.made_at, facts=[], weeks=[], clusters=[], templates=[], cautions=[])
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}{% raw %}&amp;]]></svg></style>"


class Page(HTMLParser):
    """A page read by the standard parser: its elements, texts, and whether all that opened was closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())

    def all(self, attribute: str) -> list[str]:
        return [attributes[attribute] for _, attributes in self.elements if attribute in attributes]


def of_hostile_texts() -> Report:
    section = replace(
        SECTION,
        title=HOSTILE,
        anchor='x" onload="alert(1)',
        facts=[(HOSTILE, HOSTILE)],
        labels={HOSTILE: [(HOSTILE, 5)]},
    )
    return replace(
        REPORT,
        facts=[(HOSTILE, HOSTILE)],
        clusters=[section],
        templates=[replace(section, anchor="{{7*7}}")],
        cautions=[HOSTILE],
    )


def bars(text: str) -> list[tuple[float, float]]:
    """Top and bottom of each bar of a page's first chart, in its units from the top."""
    chart = text.partition("</svg>")[0]
    drawn_bars = re.findall(r'<path d="([^"]*)"[^>]*style="fill: #4a8ad4"', chart)
    edges = [[float(y) for y in re.findall(r"[ML] \S+ (\S+)", each)] for each in drawn_bars]
    return [(min(ys), max(ys)) for ys in edges]


@pytest.mark.parametrize("report", [REPORT, EMPTY, of_hostile_texts()], ids=["full", "empty", "hostile"])
def test_every_element_is_closed(report: Report) -> None:
    assert Page(report_page(report)).open == []


def test_every_id_is_there_once() -> None:
    counts = Counter(Page(report_page(REPORT)).all("id"))

    assert len(counts) > 50
    assert set(counts.values()) == {1}


def test_every_link_leads_to_an_element_of_the_page() -> None:
    text = report_page(REPORT)
    page = Page(text)
    targets = {f"#{name}" for name in page.all("id")}
    links = [*page.all("href"), *page.all("xlink:href"), *re.findall(r"url\((.*?)\)", text)]

    assert {"#page-clusters", "#page-templates", "#cluster-2", "#template-1"} <= set(links)
    assert set(links) <= targets


def test_table_of_contents_names_every_section() -> None:
    page = Page(report_page(REPORT))

    assert [page.texts.count(name) for name in ("Cluster 1", "Cluster 2", "Template 1")] == [2, 2, 2]


def test_page_names_no_address_but_namespaces() -> None:
    text = re.sub(r'xmlns(:\w+)?="[^"]*"', "", report_page(REPORT))

    assert re.findall(r"https?:|//\w|@import|@font-face", re.sub(r"base64,[\w+/=]+", "", text)) == []


def test_only_pictures_inside_the_page_are_shown() -> None:
    sources = Page(report_page(REPORT)).all("src")

    assert len(sources) == 6
    assert all(base64.b64decode(source.removeprefix("data:image/png;base64,")) == MEAN for source in sources)


def test_policy_forbids_all_but_inline_styles_and_pictures() -> None:
    policies = [
        attributes["content"]
        for _, attributes in Page(report_page(REPORT)).elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]

    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_charts_are_elements_without_prolog() -> None:
    text = report_page(REPORT)

    assert text.count("<svg") == 3
    assert "<?xml" not in text
    assert text.lower().count("<!doctype") == 1


def test_charts_take_the_colours_of_the_page() -> None:
    chart = report_page(REPORT).split("<svg")[1].split("</svg>")[0]
    colours = set(re.findall(r"(?:fill|stroke): ?(#\w+|\w+)", chart))

    assert colours == {"currentColor", "none", "#4a8ad4"}


def test_same_report_gives_the_same_page() -> None:
    first = report_page(REPORT)
    with mpl.rc_context({"svg.hashsalt": "another process", "font.size": 20}):
        assert report_page(REPORT) == first


def test_pages_made_at_the_same_time_are_the_same() -> None:
    with ThreadPoolExecutor(4) as threads:
        pages = set(threads.map(report_page, [REPORT] * 8))

    assert pages == {report_page(REPORT)}


def test_settings_of_matplotlib_are_left_as_they_were() -> None:
    with mpl.rc_context({"font.size": 20}):
        before = dict(mpl.rcParams)
        report_page(REPORT)
        assert dict(mpl.rcParams) == before


def test_hostile_texts_add_no_element() -> None:
    page = Page(report_page(of_hostile_texts()))
    tags = Counter(tag for tag, _ in page.elements)

    assert tags["script"] == 0
    assert tags["img"] == 4
    assert tags["svg"] == 2


def test_hostile_texts_add_no_attribute() -> None:
    page = Page(report_page(of_hostile_texts()))

    assert [name for _, attributes in page.elements for name in attributes if name.startswith("on")] == []
    assert {'x" onload="alert(1)', "{{7*7}}"} <= set(page.all("id"))


def test_hostile_texts_are_shown_as_they_are() -> None:
    page = Page(report_page(of_hostile_texts()))

    # The summary's and the two sections' facts, the caution, two titles with their links, two labels.
    assert page.texts.count(HOSTILE) == 2 + 2 * 2 + 1 + 2 * 2 + 2 * 2
    assert [alt.count(HOSTILE) for alt in page.all("alt")] == [1, 1, 1, 1]


def test_no_text_of_the_report_is_in_its_charts() -> None:
    charts = [each.split("</svg>")[0] for each in report_page(of_hostile_texts()).split("<svg")[1:3]]

    assert all("alert" not in chart and "7*7" not in chart for chart in charts)


def test_bars_are_as_high_as_their_weeks_have_images() -> None:
    heights = [bottom - top for top, bottom in bars(report_page(REPORT))]

    assert [height / max(heights) for height in heights] == pytest.approx(
        [count / max(COUNTS) for count in COUNTS], abs=1e-4
    )


def test_bars_stand_on_the_axis() -> None:
    text = report_page(REPORT)
    top, high = re.findall(r'<rect x="\S+" y="(\S+)" width="\S+" height="(\S+)"/>', text)[0]

    assert [bottom for _, bottom in bars(text)] == pytest.approx([float(top) + float(high)] * 12, abs=1e-3)


def test_weeks_are_told_to_those_who_do_not_see_the_bars() -> None:
    label = "Bars of images per week, from the week of 2026-01-05: 0, 3, 14, 15, 9, 2, 6, 5, 3, 5, 8, 9"

    assert Page(report_page(REPORT)).all("aria-label").count(label) == 3


@pytest.mark.parametrize("weeks", [1, 12, 200])
def test_weeks_without_images_are_drawn_without_bars(weeks: int) -> None:
    mondays = [WEEKS[0] + timedelta(weeks=number) for number in range(weeks)]
    quiet = replace(SECTION, weekly=[0] * weeks)
    page = Page(report_page(replace(REPORT, weeks=mondays, clusters=[quiet], templates=[])))

    assert "2026-01-05" in page.texts
    assert sum(tag == "svg" for tag, _ in page.elements) == 1


def test_many_weeks_have_few_dates_below_them() -> None:
    mondays = [WEEKS[0] + timedelta(weeks=number) for number in range(200)]
    busy = replace(SECTION, weekly=[1] * 200, first_seen=None, last_seen=None)
    page = Page(report_page(replace(REPORT, weeks=mondays, clusters=[busy], templates=[])))

    assert sum(re.fullmatch(r"\d{4}-\d\d-\d\d", text) is not None for text in page.texts) == 8


def test_counts_for_other_weeks_are_refused() -> None:
    with pytest.raises(ValueError, match="1 weekly counts for 12 weeks"):
        report_page(replace(REPORT, clusters=[replace(SECTION, weekly=[1])]))


def test_labels_have_counts_and_shares_of_the_images() -> None:
    texts = [text for text in Page(report_page(REPORT)).texts if text]
    place = texts.index("scratch")

    assert texts[place : place + 6] == ["scratch", "617", "50.0 %", "dent", "12", "1.0 %"]


def test_section_tells_its_counts_and_when_it_was_seen() -> None:
    texts = [text for text in Page(report_page(REPORT)).texts if text]
    place = texts.index("Claims")

    assert texts[place - 2 : place + 8] == [
        *("Images", "1,234", "Claims", "1,200"),
        *("First seen", "2026-01-05", "Last seen", "2026-03-23"),
        *("Medoid", "KD-0042"),
    ]


def test_empty_report_says_so_in_words() -> None:
    texts = Page(report_page(EMPTY)).texts

    assert {"No cluster yet.", "No template yet.", "Nothing to sum up yet."} <= set(texts)
    assert "How to read this" not in texts


def test_section_of_nothing_shows_nothing_but_its_title() -> None:
    bare = Section("Bare", "bare", 0, 0, None, None, [], [], {"damage": [("dent", 0)]}, None, None)
    page = Page(report_page(replace(EMPTY, clusters=[bare])))

    assert "Bare" in page.texts
    assert {"svg", "img"}.isdisjoint(tag for tag, _ in page.elements)
    assert not {"First seen", "Last seen", "Images per week"} & set(page.texts)
