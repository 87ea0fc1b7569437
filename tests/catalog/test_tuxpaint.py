"""The sample catalogue of Tux Paint's stamps."""

from pathlib import Path

import pytest
from catalog.picture_files import PNG
from catalog.sound_files import encoded, tone
from conftest import require

from likewise.catalog.catalog import Catalog
from likewise.catalog.tuxpaint import STAMPS, write_tuxpaint
from likewise.errors import UserError
from likewise.progress import quiet

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9" fill="red"/></svg>'


@pytest.fixture
def stamps(tmp_path: Path) -> Path:
    folder = tmp_path / "stamps"
    birds = folder / "animals" / "birds"
    birds.mkdir(parents=True)
    for name, caption in [("owl", "An owl.\nde.utf8=Eine Eule.\nfr.utf8=Un hibou.\n"), ("hen", "A hen.\n")]:
        (birds / f"{name}.png").write_bytes(PNG)
        (birds / f"{name}.txt").write_text(caption, encoding="utf-8")
    (birds / "without-caption.png").write_bytes(PNG)
    (birds / "owl_desc.ogg").write_bytes(encoded(tone(0.2, 300), "OGG"))
    (birds / "owl_desc_fr.ogg").write_bytes(encoded(tone(0.2, 400), "OGG"))
    (birds / "owl.ogg").write_bytes(encoded(tone(0.2, 500), "OGG"))
    (folder / "square.svg").write_text(SVG)
    (folder / "square.txt").write_text("A square.\nfr.utf8=Un carré.\n", encoding="utf-8")
    return folder


def test_a_stamp_has_a_caption_a_picture_and_recordings_in_a_language(stamps: Path, tmp_path: Path) -> None:
    with quiet():
        path = write_tuxpaint(tmp_path / "sample", language="fr", stamps=stamps)
        catalog = Catalog.read(path, cache=tmp_path / "cache")
        assert catalog.ids == ["animals/birds/hen", "animals/birds/owl", "square"]
        assert catalog.texts("title") == ["A hen.", "Un hibou.", "Un carré."]
        assert catalog.column("category") == ["animals", "animals", "square"]
        assert [len(shown) for shown in catalog.pictures] == [1, 1, 1]
        hen, owl, square = catalog.recordings("spoken")
        assert (hen, square) == ((), ()) and owl[0].path.name == "owl_desc_fr.ogg"
        assert len(catalog.open_recording(owl[0]).samples) == pytest.approx(3_200, abs=10)
        assert [len(found) for found in catalog.recordings("sound")] == [0, 1, 0]
        assert [len(found) for found in catalog.select([1]).recordings("sound")] == [1]
    assert "GPL-2" in (tmp_path / "sample/ATTRIBUTION.txt").read_text(encoding="utf-8")
    with quiet():
        assert write_tuxpaint(tmp_path / "sample", language="fr", stamps=stamps) == path
        with pytest.raises(UserError, match="name a new folder"):
            write_tuxpaint(tmp_path / "sample", stamps=stamps)


def test_english_descriptions_have_no_language_in_their_names(stamps: Path, tmp_path: Path) -> None:
    with quiet():
        catalog = Catalog.read(write_tuxpaint(tmp_path / "sample", stamps=stamps), cache=tmp_path / "cache")
        assert catalog.recordings("spoken")[1][0].path.name == "owl_desc.ogg"
    assert catalog.texts("title") == ["A hen.", "An owl.", "A square."]


def test_without_the_package_it_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"are not installed in .*: apt-get install tuxpaint-stamps-default"):
        write_tuxpaint(tmp_path / "sample", stamps=tmp_path / "none")
    with pytest.raises(UserError, match="is no language that stamps have"):
        write_tuxpaint(tmp_path / "sample", language="../x")
    assert not (tmp_path / "sample").exists()


def test_the_installed_stamps_speak_french(tmp_path: Path) -> None:
    require(STAMPS.is_dir(), "tuxpaint-stamps-default is not installed")
    with quiet():
        path = write_tuxpaint(tmp_path / "sample", language="fr", stamps=STAMPS / "animals" / "birds")
        catalog = Catalog.read(path, cache=tmp_path / "cache")
        heard = [found for found in catalog.recordings("spoken") if found]
        assert len(heard) > 30 and sum(map(bool, catalog.recordings("sound"))) > 5
        sounds = [catalog.open_recording(found[0], 15.0) for found in heard[::10]]
    assert all(0.3 < len(sound.samples) / sound.rate < 15 for sound in sounds)
    assert not [cause for cause in catalog.report.problems if cause.startswith("audio-")]
