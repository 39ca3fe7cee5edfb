"""Which claim a picture belongs to."""

from datetime import date

import pytest

from app.errors import InvalidValue
from app.sources.claim_rules import claim_rule, day_of
from app.sources.found import Found, Refused, Step


def item(path: str, *steps: Step) -> Found:
    return Found(path, steps, b"")


def in_zip(name: str) -> Step:
    return Step("zip", name, 1)


def in_mail(name: str, subject: str | None = None) -> Step:
    return Step("message", name, 2, subject=subject)


ON_PAGE = Step("pdf", "", 1, page=2)


def test_parent_is_the_folder_of_the_file_or_of_the_innermost_member_that_has_one(tmp_path) -> None:
    rule = claim_rule("parent")
    assert rule(item("claims/KD-7/a.jpg")).claim_id == "KD-7"
    assert rule(item("claims/KD-7/a.zip", in_zip("a.jpg"))).claim_id == "KD-7"
    assert rule(item("claims/all.zip", in_zip("2025/KD-8/a.msg"), in_mail("a.jpg"))).claim_id == "KD-8"
    assert rule(item("claims/all.zip", in_zip("2025\\KD-8\\a.jpg"))).claim_id == "KD-8"
    assert rule(item("s3://claims/KD-9/a.jpg")).claim_id == "KD-9"
    assert rule(Refused(str(tmp_path / "KD-1" / "x"), (), InvalidValue("x"))).claim_id == "KD-1"


def test_name_is_the_file_name_up_to_its_first_mark() -> None:
    rule = claim_rule("name")
    assert rule(item("x/KD-7_front.jpg")).claim_id == "KD-7"
    assert rule(item("all.zip", in_zip("x/KD-8.jpg"))).claim_id == "KD-8"
    assert rule(item("all.zip", in_zip("x/1.eml"), in_mail("KD-9_report.pdf"), ON_PAGE)).claim_id == "KD-9"
    with pytest.raises(InvalidValue):
        rule(item("_.jpg"))


def test_what_a_claim_id_can_not_have_becomes_a_dash_and_is_kept_as_written() -> None:
    claimed = claim_rule("parent")(item("s3://x/KD 7 (ü)/a.jpg"))
    assert (claimed.claim_id, claimed.written) == ("KD-7----", "KD 7 (ü)")
    assert claim_rule("parent")(item("s3://x/#12/a.jpg")).claim_id == "12"
    for folder in ("###", "x" * 65, ""):
        with pytest.raises(InvalidValue):
            claim_rule("parent")(item(f"s3://x/{folder}/a.jpg"))


def test_a_pattern_is_looked_for_from_the_innermost_name_outwards() -> None:
    rule = claim_rule("regex", pattern=r"(?P<claim>KD-\d+)(_(?P<date>[\d.-]+\d))?(_(?P<side>\w+))?")
    claimed = rule(item("KD-1.zip", in_zip("KD-2/KD-3_31.12.2025_front.eml"), in_mail("photo.jpg")))
    assert (claimed.claim_id, claimed.day, claimed.labels) == ("KD-3", date(2025, 12, 31), {"side": "front"})
    assert rule(item("KD-1.zip", in_zip("photo.jpg"))).claim_id == "KD-1"
    with pytest.raises(InvalidValue, match="file name"):
        rule(item("KD-1/x.zip", in_zip("photo.jpg")))


def test_a_pattern_is_looked_for_in_subjects() -> None:
    rule = claim_rule("regex", pattern=r"(?P<claim>KD-\d+)", on="subject")
    steps = (in_mail("a.eml", "Fwd: KD-1"), in_mail("b.eml", "KD-2"), in_mail("KD-9.jpg", "Photos"))
    assert rule(item("KD-8.eml", *steps)).claim_id == "KD-2"
    with pytest.raises(InvalidValue, match="subject"):
        rule(item("KD-8.jpg"))


@pytest.mark.parametrize("pattern", ["(", "KD", r"(?P<claim>\d+)(?P<" + "x" * 65 + ">.)", None])
def test_a_pattern_that_can_not_be_used_is_an_error(pattern) -> None:
    with pytest.raises(InvalidValue):
        claim_rule("regex", pattern=pattern)


@pytest.fixture
def table(tmp_path, monkeypatch):
    def write(text: str, encoding: str = "utf-8-sig"):
        path = tmp_path / "lists" / "claims.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding)
        return claim_rule("csv", table=path)

    monkeypatch.chdir(tmp_path)
    return write


def test_a_table_names_inputs_and_members_the_closest_line_wins(table, tmp_path) -> None:
    rule = table(
        "file,claim,date,side,\n"
        "../in/a.jpg,KD-1,2025-12-31,front,\n"
        "../in/mail.zip,KD-2,,,\n"
        '"../in/mail.zip > inbox/7.msg",KD-3,31.12.2025,,\n'
        '"../in/mail.zip > inbox/7.msg > letter.pdf > page 2, picture 1",KD-4,,back,\n'
        "s3://bucket/b.jpg,KD-5,,,\n"
        '"../in/c > d.jpg",KD-6,,,\n'
    )
    claimed = rule(item("in/a.jpg"))
    assert (claimed.claim_id, claimed.day, claimed.labels) == ("KD-1", date(2025, 12, 31), {"side": "front"})
    assert rule(item(f"{tmp_path}/in/../in/a.jpg")).claim_id == "KD-1"
    letter = (in_zip("inbox/7.msg"), in_mail("letter.pdf"))
    assert rule(item("in/mail.zip", in_zip("other.jpg"))).claim_id == "KD-2"
    assert rule(item("in/mail.zip", *letter)).claim_id == "KD-3"
    assert rule(item("in/mail.zip", *letter, ON_PAGE)).claim_id == "KD-4"
    assert rule(item("in/mail.zip", *letter, ON_PAGE)).labels == {"side": "back"}
    assert rule(item("s3://bucket/b.jpg")).claim_id == "KD-5"
    assert rule(item("in/c > d.jpg")).claim_id == "KD-6"
    with pytest.raises(InvalidValue, match="no line"):
        rule(item("in/other.jpg"))


def test_lines_for_none_of_the_inputs_are_told(table, tmp_path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "b.jpg")
    rule = table(
        "file,claim\n../a.jpg,KD-1\n../link,KD-2\n../mail.zip > 7.msg,KD-3\ngone.jpg,KD-4\n../other.zip > a,KD-5\n"
        "s3://claims/a.jpg,KD-6\ngone.jpg,KD-4\n"
    )
    names = [str(tmp_path / name) for name in ("a.jpg", "b.jpg", "mail.zip", "more.jpg")]
    assert rule.lines_without([*names, "s3://claims/a.jpg"]) == ["gone.jpg", "../other.zip > a"]
    assert rule.lines_without([*names, "s3://claims/b.jpg"]) == [
        "gone.jpg",
        "../other.zip > a",
        "s3://claims/a.jpg",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "file,clam\na,b\n",
        "file,claim,x,x\n",
        "file,claim\na.jpg,KD-1\n./a.jpg,KD-2\n",
        'file,claim\n"a.jpg,KD-1\n',
        "file,claim," + "x" * 65 + "\n",
        "file,claim\na\0.jpg,x\n",
    ],
)
def test_a_table_that_can_not_be_used_is_an_error(table, text) -> None:
    with pytest.raises(InvalidValue):
        table(text)


def test_a_table_in_another_encoding_is_an_error_and_no_wrong_claim(table) -> None:
    with pytest.raises(InvalidValue, match="can't be read"):
        table("file,claim\nfr\xfch.jpg,KD-1\n", "latin-1")


def test_a_bad_value_is_an_error_for_its_line_only(table) -> None:
    rule = table(
        "file,claim,date,side\na.jpg,KD-1,30.2.2025,\nb.jpg,KD-2,," + "x" * 257 + "\nc.jpg,KD-3,,x\n"
    )
    for name in ("a", "b"):
        with pytest.raises(InvalidValue):
            rule(item(f"lists/{name}.jpg"))
    assert rule(item("lists/c.jpg")).claim_id == "KD-3"


def test_days_are_read_in_two_ways_and_no_other() -> None:
    assert day_of("2025-12-31") == day_of("31.12.2025") == day_of(" 20251231 ") == date(2025, 12, 31)
    assert day_of("1.2.2025") == date(2025, 2, 1)
    for text in ("31.02.2025", "12/31/2025", "2025-W01-1", "yesterday", "", "31.12.25", "99999999"):
        with pytest.raises(InvalidValue):
            day_of(text)


def test_labels_keep_to_what_uploads_may_have(table) -> None:
    rule = table('file,claim,side\na.jpg,KD-1,"front\nleft\x07"\n')
    labels = rule(item("lists/a.jpg")).labels
    assert labels == {"side": "front\\nleft\\x07"}
    columns = ",".join(f"l{number}" for number in range(33))
    rule = table(f"file,claim,{columns}\na.jpg,KD-1{',x' * 33}\n")
    with pytest.raises(InvalidValue, match="labels"):
        rule(item("lists/a.jpg"))
