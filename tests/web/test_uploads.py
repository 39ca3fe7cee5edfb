from typing import Any

import pytest
from PIL import Image, ImageEnhance, ImageOps
from starlette.testclient import TestClient

from tests.pictures import drawn, encoded, photo, receipt
from tests.web.api import upload, uploaded

TURNS = {
    "mirror": Image.Transpose.FLIP_LEFT_RIGHT,
    "rotate_90": Image.Transpose.ROTATE_90,
    "rotate_180": Image.Transpose.ROTATE_180,
    "rotate_270": Image.Transpose.ROTATE_270,
    "flip": Image.Transpose.FLIP_TOP_BOTTOM,
    "transpose": Image.Transpose.TRANSPOSE,
    "transverse": Image.Transpose.TRANSVERSE,
}
INVERSE = {"rotate_90": "rotate_270", "rotate_270": "rotate_90"}


def test_first_picture_is_stored_and_matches_nothing(client: TestClient) -> None:
    response = upload(client, "KD-1", encoded(photo()), labels='{"product": "fridge"}')
    assert response.status_code == 201
    answer = response.json()
    assert answer["claim_id"] == "KD-1"
    assert answer["duplicate"] is False
    assert answer["rejected"] == []
    (image,) = answer["images"]
    assert image["created"] is True
    assert image["verdict"] == "none"
    assert image["matches"] == []
    assert image["matches_total"] == 0
    assert image["status"] == "fingerprinted"
    assert image["format"] == "JPEG"
    assert (image["width"], image["height"]) == photo().size
    assert image["labels"] == {"product": "fridge"}
    assert set(image["hashes"]) == {"ahash", "phash", "dhash", "whash", "whash_db4", "colorhash", "pattern"}
    assert all(len(value) == 16 for value in image["hashes"].values())
    assert image["uploaded_at"].endswith("Z")


def test_same_bytes_in_another_claim_are_the_same_file(client: TestClient) -> None:
    data = encoded(photo())
    first = uploaded(client, "KD-1", data)
    answer = upload(client, "KD-2", data).json()
    assert answer["duplicate"] is True
    (image,) = answer["images"]
    assert image["verdict"] == "same_file"
    (match,) = image["matches"]
    assert match["image_id"] == first["image_id"]
    assert match["claim_id"] == "KD-1"
    assert match["relation"] == "other_claim"
    assert match["kind"] == "same_file"
    assert match["transform"] == "identity"
    assert set(match["distances"].values()) == {0}


def test_same_pixels_in_another_container_are_found_as_such(client: TestClient) -> None:
    uploaded(client, "KD-1", encoded(drawn(1), "PNG"))
    assert uploaded(client, "KD-2", encoded(drawn(1), "BMP"))["verdict"] == "same_pixels"


def test_recompressed_copy_is_flagged_in_another_claim(client: TestClient) -> None:
    uploaded(client, "KD-1", encoded(photo()))
    assert uploaded(client, "KD-2", encoded(photo(), quality=35))["verdict"] == "near_duplicate"


def test_resized_copy_is_flagged_in_another_claim(client: TestClient) -> None:
    uploaded(client, "KD-1", encoded(photo()))
    assert uploaded(client, "KD-2", encoded(photo().resize((200, 200))))["verdict"] == "near_duplicate"


@pytest.mark.parametrize("transform", TURNS)
def test_turned_copy_is_found_with_the_transform_that_turns_it_back(
    client: TestClient, transform: str
) -> None:
    uploaded(client, "KD-1", encoded(photo("coffee")))
    copy = uploaded(client, "KD-2", encoded(photo("coffee").transpose(TURNS[transform])))
    assert copy["verdict"] == "near_duplicate"
    assert copy["matches"][0]["transform"] == INVERSE.get(transform, transform)


def test_match_seen_from_the_earlier_image_has_the_inverse_transform(client: TestClient) -> None:
    first = uploaded(client, "KD-1", encoded(photo("coffee")))
    uploaded(client, "KD-2", encoded(photo("coffee").transpose(Image.Transpose.ROTATE_90)))
    (match,) = client.get(f"/images/{first['image_id']}").json()["matches"]
    assert match["transform"] == "rotate_90"


def test_copy_in_the_same_claim_is_a_match_but_no_duplicate(client: TestClient) -> None:
    uploaded(client, "KD-1", encoded(photo()))
    answer = upload(client, "KD-1", encoded(photo(), quality=40)).json()
    assert answer["duplicate"] is False
    (image,) = answer["images"]
    assert image["verdict"] == "none"
    assert image["matches"][0]["relation"] == "same_claim"


def test_different_photos_do_not_match(client: TestClient) -> None:
    for number, name in enumerate(("astronaut", "chelsea", "coffee", "rocket")):
        assert uploaded(client, f"KD-{number}", encoded(photo(name)))["matches"] == []


def test_same_bytes_again_for_the_claim_give_the_same_image_and_all_its_matches(client: TestClient) -> None:
    data = encoded(photo())
    uploaded(client, "KD-0", encoded(photo(), quality=50))
    first = uploaded(client, "KD-1", data)
    uploaded(client, "KD-2", encoded(photo(), quality=60))
    response = upload(client, "KD-1", data)
    assert response.status_code == 200
    (again,) = response.json()["images"]
    assert again["image_id"] == first["image_id"]
    assert again["created"] is False
    assert {match["claim_id"] for match in again["matches"]} == {"KD-0", "KD-2"}


def test_replay_leaves_no_second_file_behind(client: TestClient, settings: Any) -> None:
    data = encoded(photo())
    uploaded(client, "KD-1", data)
    uploaded(client, "KD-1", data)
    stored = sorted(path.name.split(".", 1)[1] for path in (settings.data_dir / "pictures").glob("??/*"))
    assert stored == ["original", "rendition.jpg"]


def test_same_bytes_twice_in_one_request_are_one_image_listed_twice(client: TestClient) -> None:
    data = encoded(photo())
    answer = upload(client, "KD-1", data, data).json()
    one, two = answer["images"]
    assert one["image_id"] == two["image_id"]


def test_several_files_are_answered_in_their_order(client: TestClient) -> None:
    answer = upload(client, "KD-1", *[encoded(drawn(seed)) for seed in range(5)]).json()
    assert [image["file_name"] for image in answer["images"]] == [f"{number}.jpg" for number in range(5)]
    assert [image["seq"] for image in answer["images"]] == sorted(image["seq"] for image in answer["images"])


def test_file_that_cannot_be_taken_leaves_its_neighbours_stored(client: TestClient) -> None:
    response = upload(client, "KD-1", encoded(drawn(1)), b"no picture", encoded(drawn(2)))
    assert response.status_code == 201
    answer = response.json()
    assert [image["file_name"] for image in answer["images"]] == ["0.jpg", "2.jpg"]
    (rejected,) = answer["rejected"]
    assert rejected["position"] == 1
    assert rejected["problem"]["status"] == 415


def test_request_with_no_usable_file_is_a_problem_that_names_each(client: TestClient) -> None:
    response = upload(client, "KD-1", b"no picture")
    assert response.status_code == 415
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["rejected"][0]["file_name"] == "0.jpg"
    assert upload(client, "KD-1", b"no picture", encoded(drawn(1))[:500]).status_code == 422


def test_flat_picture_is_low_information_and_matches_only_its_own_bytes(client: TestClient) -> None:
    flat = encoded(Image.new("RGB", (200, 100), "white"), "PNG")
    other = encoded(Image.new("RGB", (300, 300), "black"), "PNG")
    assert uploaded(client, "KD-1", flat)["status"] == "low_information"
    assert uploaded(client, "KD-2", other)["matches"] == []
    again = uploaded(client, "KD-3", flat)
    assert [match["claim_id"] for match in again["matches"]] == ["KD-1"]
    assert again["verdict"] == "same_file"
    similar = client.get("/similar", params={"image_id": again["image_id"], "max_distance": 64}).json()
    assert similar["total"] == 0
    assert similar["status"] == "low_information"


def test_exif_orientation_makes_no_difference(client: TestClient) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways = photo("coffee").transpose(Image.Transpose.ROTATE_90)
    uploaded(client, "KD-1", encoded(photo("coffee")))
    copy = uploaded(client, "KD-2", encoded(sideways, exif=exif))
    assert (copy["width"], copy["height"]) == photo("coffee").size
    assert copy["matches"][0]["transform"] == "identity"


def test_mirrored_grey_copy_of_a_png_with_transparency_is_found(client: TestClient) -> None:
    picture = photo("chelsea").convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    uploaded(client, "KD-1", encoded(picture, "PNG"))
    flattened = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    copy = uploaded(client, "KD-2", encoded(ImageOps.mirror(flattened.convert("L"))))
    assert copy["verdict"] == "near_duplicate"
    assert copy["matches"][0]["transform"] == "mirror"


def test_copies_within_one_request_are_matches_of_each_other(client: TestClient) -> None:
    answer = upload(client, "KD-1", encoded(photo()), encoded(photo(), quality=50)).json()
    first, second = answer["images"]
    assert [match["image_id"] for match in second["matches"]] == [first["image_id"]]
    assert [match["image_id"] for match in first["matches"]] == [second["image_id"]]
    assert second["matches"][0]["relation"] == "same_claim"


def test_receipts_of_one_shop_are_not_copies_of_each_other(client: TestClient) -> None:
    for seed in range(8):
        image = uploaded(client, f"KD-{seed}", encoded(receipt(seed)))
        assert (image["page"], image["status"], image["verdict"]) == (True, "fingerprinted", "none")


def test_receipt_sent_again_is_a_copy(client: TestClient) -> None:
    first = uploaded(client, "KD-1", encoded(receipt(1)))
    for number, edited in enumerate(
        (
            encoded(receipt(1), quality=40),
            encoded(receipt(1).reduce(2)),
            encoded(receipt(1).transpose(Image.Transpose.ROTATE_90)),
            encoded(ImageEnhance.Brightness(receipt(1)).enhance(0.8)),
        )
    ):
        copy = uploaded(client, f"KD-1{number}", edited)
        assert copy["verdict"] == "near_duplicate"
        assert first["image_id"] in {match["image_id"] for match in copy["matches"]}
