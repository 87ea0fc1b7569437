"""Texts that an encoder does not speak are noticed by how its tokenizer spells them."""

import pytest
from encoders.tiny_models import save_clip, save_siglip

from likewise.config import PRESETS
from likewise.encoders.languages import language_warning
from likewise.encoders.registry import load_encoder

ENGLISH = [
    "Waterproof hiking boots for women with breathable lining and a rubber sole",
    "Charcoal grey cotton sweatshirt, machine washable, relaxed fit",
    "Stainless steel water bottle that keeps drinks cold for 24 hours",
    "USB-C charger 65 W for laptops and phones",
]
FOREIGN = {
    "German": "Wasserdichte Wanderschuhe für Damen mit atmungsaktivem Futter und griffiger Gummisohle",
    "French": "Chaussures de randonnée imperméables pour femmes avec doublure respirante",
    "Finnish": "Naisten vedenpitävät vaelluskengät hengittävällä vuorella",
    "Russian": "Водонепроницаемые треккинговые ботинки для женщин",
    "Greek": "Αδιάβροχα μποτάκια πεζοπορίας για γυναίκες",
    "Arabic": "أحذية مشي نسائية مقاومة للماء",
    "Hindi": "महिलाओं के लिए वाटरप्रूफ हाइकिंग बूट",
    "Chinese": "女士防水登山鞋，透气衬里，防滑橡胶鞋底",
    "Japanese": "女性用防水ハイキングブーツ 通気性のある裏地",
    "Korean": "여성용 방수 등산화 통기성 안감",
    "emoji": "👟🥾🔥 👩‍🦰",
    "Thai": "รองเท้าเดินป่ากันน้ำสำหรับผู้หญิง",
}


@pytest.fixture(scope="module")
def english():
    return load_encoder("lite-text", "text")


def test_english_is_known_to_an_english_model(english):
    assert (english.unknown_share(ENGLISH) < 0.2).all()
    assert language_warning(english, ENGLISH * 5) is None


@pytest.mark.parametrize("language", FOREIGN)
def test_other_languages_are_not(english, language):
    assert english.unknown_share([FOREIGN[language]])[0] >= 0.5
    warning = language_warning(english, [FOREIGN[language]] * 10)
    assert warning.startswith("about 100% of the texts, such as '") and "lite-text has not learned" in warning
    assert warning.endswith("such as that of --preset multilingual-lite, without a network")
    assert "multilingual-lite" in PRESETS


def test_some_foreign_texts_are_no_reason_to_worry(english):
    few = [FOREIGN["German"]] * 3 + ENGLISH * 5
    assert language_warning(english, few) is None
    assert language_warning(english, ["red boots 🔥", "Acme® boots, 40 °C"] * 10) is None
    assert language_warning(english, [FOREIGN["Russian"]] * 3) is None  # too few to say
    assert language_warning(english, []) is None


def test_only_a_sample_of_a_large_catalogue_is_read(english):
    read = []
    english_share = english.unknown_share
    english.unknown_share = lambda texts: read.append(len(texts)) or english_share(texts)
    try:
        assert "about 50%" in language_warning(english, [*ENGLISH[:1] * 5000, *[FOREIGN["Thai"]] * 5001])
    finally:
        del english.unknown_share
    assert 1000 < read[0] <= 2000


def test_texts_without_letters_are_not_foreign(english):
    assert english.unknown_share(["", "12 %", "—", "€ 4,99"]).tolist() == [0, 0, 0, 0]
    assert language_warning(english, ["4 × 10 mm"] * 20) is None


def test_byte_pieces_are_not_words(tmp_path):
    """CLIP's tokenizer has pieces for all bytes; the tiny one here has letters only, so English is spelt out, too."""
    shares = load_encoder(str(save_clip(tmp_path)), "text").unknown_share(["jacket", "a", ""])
    assert shares.tolist() == [1, 0, 0]


def test_unknown_pieces_are_unknown(tmp_path):
    shares = load_encoder(str(save_siglip(tmp_path)), "text").unknown_share(["a ü", "ü", "a"])
    assert shares.tolist() == [0.5, 1, 0]


def test_an_encoder_without_a_vocabulary_speaks_everything():
    assert language_warning(load_encoder("scratch-text", "text"), list(FOREIGN.values())) is None
