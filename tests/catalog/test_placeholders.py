"""Which shared pictures are placeholders, and which are not."""

from pathlib import Path

from likewise.catalog.images.picture import Picture
from likewise.catalog.placeholders import drop_placeholders, find_placeholders
from likewise.catalog.report import Report

SHARED, OWN = Picture("a" * 64, Path("shared.png")), Picture("b" * 64, Path("own.png"))
UNLIKE = ["Garden chair", "USB cable", "Tea pot", "Winter tyres", "Novel"]


def found(titles: list[str | None]) -> set[str]:
    return set(find_placeholders([(SHARED,)] * len(titles), titles))


def test_one_picture_under_unlike_titles() -> None:
    assert found(UNLIKE) == {SHARED.key}
    assert found([*UNLIKE, *(f"thing{letter} of{letter}" for letter in "abcdefgh" * 20)]) == {SHARED.key}
    assert found(["椅子", "電纜", "茶壺", "輪胎", "小說"]) == {SHARED.key}


def test_alike_titles_share_a_real_picture() -> None:
    assert not found([f"Acme T-shirt {colour}" for colour in ("red", "green", "blue", "black", "white", "grey")])
    assert not found(
        [
            "A child in a pink dress is climbing up a set of stairs",
            "A little girl climbing into a wooden playhouse",
            "A girl going into a wooden building",
            "A little girl in a pink dress going into a wooden cabin",
            "The girl is climbing the stairs to her playhouse",
        ]
    )
    assert not found(["红色连衣裙", "蓝色连衣裙", "绿色连衣裙", "黑色连衣裙", "白色连衣裙"])


def test_few_titles_prove_nothing() -> None:
    assert not found(UNLIKE[:4])
    assert not found([*UNLIKE[:4], None, None, "NOVEL"[:0] or None])
    assert not found(["Tea pot", "TEA POT"] * 20)


def test_the_other_pictures_stay() -> None:
    report = Report()
    pictures: list[tuple[Picture, ...]] = [(SHARED, OWN), *[(SHARED,)] * 4, ()]
    kept = drop_placeholders(pictures, [*UNLIKE, "Nothing"], list("abcdef"), report)
    assert kept == [(OWN,), (), (), (), (), ()]
    assert report.problems["placeholder-picture"].count == 5
    assert report.problems["placeholder-picture"].examples == list("abcde")
