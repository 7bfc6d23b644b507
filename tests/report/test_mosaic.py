"""Pictures side by side in one PNG."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mjx_s2r.report.mosaic import GAP, mosaic, write_mosaic

PICTURES = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1) * np.ones((5, 4, 6, 3), np.uint8)


def test_pictures_stand_row_by_row() -> None:
    out = mosaic(PICTURES, columns=3)
    assert out.shape == (2 * 4 + GAP, 3 * 6 + 2 * GAP, 3)
    assert out[0, 0, 0] == 0
    assert out[0, 6 + GAP, 0] == 1
    assert out[4 + GAP, 0, 0] == 3
    assert (out[4 + GAP :, 2 * (6 + GAP) :] == 255).all()


def test_png_holds_the_mosaic(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "worlds.png"
    write_mosaic(path, PICTURES, zoom=2)
    with Image.open(path) as image:
        read = np.asarray(image)
    np.testing.assert_array_equal(read[::2, ::2], mosaic(PICTURES))


@pytest.mark.parametrize("wrong", [PICTURES[:0], PICTURES[0], PICTURES.astype(float)])
def test_anything_else_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        mosaic(wrong)


def test_zoom_below_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="zoom 0"):
        write_mosaic(tmp_path / "a.png", PICTURES, zoom=0)
