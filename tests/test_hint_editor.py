"""Setting hints by hand: edits and how they are taken back, dots, and colours on offer."""

import numpy as np
import pytest
from skimage import color

from colorizing.hints import Hint, place_of
from colorizing.serving.hint_editor import COMMON, Edits, ab_of_picked, draw_dots, offer
from common.errors import UserError


def test_clicks_set_choose_and_move_hints_and_undo_takes_them_back():
    one = Edits().click(0.2, 0.5, 1.5).color((10.0, 20.0))
    assert one.hints == (Hint(0.2, 0.5, (10.0, 20.0)),) and one.chosen == 0
    two = one.click(0.8, 0.5, 1.5)
    assert two.chosen == 1 and two.hints[1].ab is None
    again = two.click(0.21, 0.5, 1.5)
    assert again.chosen == 0 and again.hints == two.hints and again.past == two.past
    moved = again.click(0.4, 0.6, 1.5, moving=True)
    assert moved.hints[0] == Hint(0.4, 0.6, (10.0, 20.0)) and moved.undo().hints == two.hints
    removed = moved.remove()
    assert removed.hints == two.hints[1:] and removed.chosen is None
    assert removed.color((1.0, 1.0)) is removed and removed.remove() is removed
    last = removed
    while last.past:
        last = last.undo()
    assert last.hints == () and last.undo() is last


def test_a_click_chooses_by_distance_on_the_picture():
    edits = Edits().click(0.5, 0.5, 4.0)
    # 0.02 of the width is 0.08 of the shorter side of a picture of 4:1.
    assert len(edits.click(0.52, 0.5, 4.0).hints) == 2 and len(edits.click(0.5, 0.52, 4.0).hints) == 1


def test_dots_show_the_colour_there():
    pixels = np.full((200, 300, 3), (40, 80, 120), np.uint8)
    edits = Edits((Hint(0.5, 0.5, None), Hint(1.0, 1.0, None)), chosen=0)
    drawn = draw_dots(pixels, edits)
    assert drawn[100, 150].tolist() == [40, 80, 120] and (drawn[100, 140:150] == (255, 0, 0)).all(axis=-1).any()
    assert not np.array_equal(drawn[-1, -8:], pixels[-1, -8:]) and pixels.max() == 120
    assert place_of(edits.hints[1], pixels) == (199, 299)


def test_colours_on_offer_have_the_lightness_of_the_place():
    shown = np.full((20, 30, 3), 145, np.uint8)  # L is 60.
    picture, ab = offer(shown, Hint(0.5, 0.5, None), [(5.0, 5.0)])
    np.testing.assert_allclose(ab[0], 0, atol=0.1)
    assert ab[1] == [5, 5] and len(ab) == 2 + len(COMMON) and picture.shape == (48, 48 * len(ab), 3)
    np.testing.assert_allclose(color.rgb2lab(picture)[..., 0], 60, atol=0.6)
    assert (picture.reshape(48, len(ab), 48, 3) == picture[0, ::48, None]).all()


@pytest.mark.parametrize("text", ["#3264c8", "#3264c8ff", "rgb(50, 100, 200)", "rgba(50.2, 99.8, 200, 1)"])
def test_picked_colours(text):
    expected = color.rgb2lab(np.uint8([[[50, 100, 200]]]))[0, 0, 1:]
    np.testing.assert_allclose(ab_of_picked(text), expected, atol=1e-2)


def test_what_is_no_colour_is_refused():
    with pytest.raises(UserError, match="red: not a colour"):
        ab_of_picked("red")
