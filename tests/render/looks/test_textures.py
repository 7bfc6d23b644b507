"""Pools of pictures: what is drawn, what is loaded, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mjx_s2r.render.looks import textures


def save(path: Path, pixels: np.ndarray) -> Path:
    """Writes an image and returns its path."""
    Image.fromarray(pixels).save(path)
    return path


def test_builtin_textures_are_bright_and_follow_the_seed() -> None:
    names = list(textures.TEXTURES)
    first, again = (textures.textures(names, 64, seed=1) for _ in range(2))
    other = textures.textures(names, 64, seed=2)
    assert first.shape == (len(names), 64, 64, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    for name, texture, moved in zip(names, first, other, strict=True):
        assert 0.7 <= texture.mean() / 255 <= 1.0, name
        assert texture.std() > 20, name
        assert (texture != moved).any() == (name not in ("checker", "stripes", "gradient")), name


@pytest.mark.parametrize("name", textures.TEXTURES)
def test_builtin_textures_continue_at_their_edges(name: str) -> None:
    """The step over the edge is no larger than the steps from a row or column to the next."""
    image = textures.textures([name], 128)[0].astype(float)
    for axis in (0, 1):
        steps = np.abs(image - np.roll(image, 1, axis=axis)).mean(axis=(1 - axis, 2))
        assert steps[0] <= 1.2 * steps[1:].max() + 1


def test_a_picture_does_not_depend_on_its_neighbours_in_the_list() -> None:
    alone = textures.textures(["wood"], 32)[0]
    listed = textures.textures(["noise", "wood", "wood"], 32)
    np.testing.assert_array_equal(listed[1], alone)
    assert (listed[2] != alone).any()


def test_builtin_backgrounds_differ_by_draw_and_fit_the_picture() -> None:
    names = [*textures.BACKGROUNDS] * 2
    out = textures.photographs(names, 30, 44, seed=3)
    assert out.shape == (len(names), 30, 44, 3)
    assert out.dtype == np.uint8
    half = len(names) // 2
    for a, b in zip(out[:half], out[half:], strict=True):
        assert np.mean(a != b) > 0.5
        assert a.std() > 3


def test_a_folder_is_all_of_its_images_by_name(tmp_path: Path) -> None:
    for name, value in (("b.png", 200), ("a.jpg", 100), ("c.JPEG", 50)):
        save(tmp_path / name, np.full((20, 20, 3), value, np.uint8))
    (tmp_path / "notes.txt").write_text("no image")
    out = textures.textures([tmp_path, "checker", str(tmp_path / "b.png")], 16)
    assert [int(np.round(t.mean())) for t in out[[0, 1, 2, 4]]] == [100, 200, 50, 200]


def test_images_are_cut_around_their_centre_and_smoothed(tmp_path: Path) -> None:
    """A picture of 40 by 90 with 10 px columns of red at its ends; the middle is a fine checker."""
    image = np.zeros((40, 90, 3), np.uint8)
    image[(np.add.outer(np.arange(40), np.arange(90)) % 2) == 0] = 255
    image[:, :10] = image[:, -10:] = (255, 0, 0)
    path = save(tmp_path / "wide.png", image)
    out = textures.photographs([path], 10, 10)[0].astype(int)  # the central 40 by 40
    assert np.abs(out - 127).max() <= 3  # grey, where plain picking would be black or white
    whole = textures.photographs([path], 20, 45)[0]
    np.testing.assert_allclose(whole[10, 2], [255, 0, 0], atol=2)


def test_grey_and_transparent_images_become_rgb(tmp_path: Path) -> None:
    grey = save(tmp_path / "grey.png", np.full((16, 16), 90, np.uint8))
    clear = save(tmp_path / "clear.png", np.full((16, 16, 4), 90, np.uint8))
    np.testing.assert_array_equal(textures.textures([grey, clear], 8), 90)


def test_what_cannot_be_made_or_loaded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(textures.TextureError, match="did you mean 'checker'"):
        textures.textures(["cheker"], 16)
    with pytest.raises(
        textures.TextureError, match=r"'/nowhere/a\.png' is no file.*builtin: checker"
    ):
        textures.textures(["/nowhere/a.png"], 16)
    with pytest.raises(textures.TextureError, match=r"holds no \.png"):
        textures.photographs([tmp_path], 8, 8)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    with pytest.raises(textures.TextureError, match=r"cannot read '.*broken\.png'"):
        textures.textures([broken], 16)
    cut = save(tmp_path / "cut.png", np.random.default_rng(0).integers(0, 256, (64, 64, 3), "u1"))
    cut.write_bytes(cut.read_bytes()[:2000])
    with pytest.raises(textures.TextureError, match=r"cannot read '.*cut\.png'"):
        textures.photographs([cut], 8, 8)
    deep = save(tmp_path / "deep.png", np.full((8, 8), 40000, np.uint16))
    with pytest.raises(textures.TextureError, match="more than 8 bits"):
        textures.textures([deep], 8)
    with pytest.raises(textures.TextureError, match="power of two"):
        textures.textures(["checker"], 48)
    with pytest.raises(textures.TextureError, match="are one name"):
        textures.textures("checker", 16)
    with pytest.raises(textures.TextureError, match="no names"):
        textures.photographs([], 8, 8)
    with pytest.raises(textures.TextureError, match="0 by 8"):
        textures.photographs(["clouds"], 0, 8)
