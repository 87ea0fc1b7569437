"""Pictures that change for training: enough to matter, little enough to show the same thing."""

import colorsys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from likewise.training.augmentation import augment


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 999))
def test_any_picture_gives_a_section_of_it(width, height, seed):
    picture = Image.new("RGB", (width, height), (200, 30, 40))
    changed = augment(picture, np.random.default_rng(seed))
    assert changed.mode == "RGB"
    assert 1 <= changed.width <= width and 1 <= changed.height <= height


@pytest.mark.parametrize("colour", [(200, 30, 40), (30, 160, 60), (40, 60, 200)], ids=["red", "green", "blue"])
def test_colours_stay_what_they_are_called_and_no_corner_is_empty(colour):
    hue = colorsys.rgb_to_hsv(*(part / 255 for part in colour))[0]
    for seed in range(40):
        pixels = np.asarray(augment(Image.new("RGB", (90, 60), colour), np.random.default_rng(seed)))
        assert (pixels == pixels[0, 0]).all(), "a plain picture stays plain: nothing black was turned in"
        found, saturation, _ = colorsys.rgb_to_hsv(*(part / 255 for part in pixels[0, 0].tolist()))
        assert abs(found - hue) < 0.03 and saturation > 0.5


def test_sections_are_large_and_differ():
    gradient = Image.linear_gradient("L").convert("RGB")
    seen = [augment(gradient, np.random.default_rng(seed)) for seed in range(60)]
    areas = [picture.width * picture.height / 256**2 for picture in seen]
    assert min(areas) > 0.3 and max(areas) > 0.9
    assert len({picture.size for picture in seen}) > 40
    assert augment(gradient, np.random.default_rng(7)).tobytes() == seen[7].tobytes()
