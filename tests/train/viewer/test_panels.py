"""The sheet of panels: every picture in its place, MuJoCo's beside ours, titles that fit."""

import mujoco
import numpy as np
import pytest
from mujoco import mjx
from PIL import ImageFont

from mjx_s2r.render.looks.assets import RenderConfig
from train.viewer import panels
from train.viewer.panels import GAP, TEXT, drawn, fitted, sheet

XML = """
<mujoco>
  <visual><headlight ambient="1 1 1" diffuse="0 0 0" specular="0 0 0"/></visual>
  <worldbody>
    <geom name="wall" type="box" pos="0 0 -0.5" size="9 9 0.5" rgba="0 0 1 1"/>
    <geom name="ball" pos="0 0 1" size="0.5" rgba="1 0 0 1"/>
    <camera name="above" pos="0 0 4"/>
    <camera name="aside" pos="5 0 4"/>
  </worldbody>
</mujoco>
"""
MODEL = mujoco.MjModel.from_xml_string(XML)


def test_every_camera_sees_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A red ball before a blue wall, seen from above; from aside there is the wall alone."""
    data = mujoco.MjData(MODEL)
    mujoco.mj_forward(MODEL, data)
    images, left_out = drawn(MODEL, ("above", "aside"), 16, data, RenderConfig())
    assert left_out == ()
    above, aside = images
    assert above.rgb[8, 8].tolist() == [255, 0, 0] and aside.rgb[8, 8].tolist() == [0, 0, 255]
    assert above.depth[8, 8] == pytest.approx(2.5, abs=0.02)  # 4 - 1 - 0.5
    assert aside.depth == pytest.approx(np.full((16, 16), 4.0), rel=1e-5)
    core = mjx.make_data(MODEL)
    monkeypatch.setattr(panels, "mujoco_pictures", lambda *_: np.zeros((1, 16, 16, 3), np.uint8))
    found = dict(panels.panels(MODEL, "aside", aside, core))
    assert list(found) == [
        "aside: this renderer",
        "aside: MuJoCo's",
        "difference, mean 85.0 of 255",  # 255 in one channel of three
        "depth, near is bright",
        "normals",
        "segmentation",
    ]
    assert (found["depth, near is bright"] == 255).all(), "all of it is as near as it gets"
    facing = np.abs(found["normals"].astype(int) - (127, 127, 255))
    assert facing.max() <= 1, "it faces the camera"
    monkeypatch.setattr(panels, "mujoco_pictures", lambda *_: None)
    assert len(panels.panels(MODEL, "aside", aside, core)) == 4


def test_pictures_stand_in_rows_below_their_titles() -> None:
    shades = [np.full((20, 30, 3), shade, np.uint8) for shade in (10, 20, 30)]
    paper = sheet([(("a", shades[0]), ("b", shades[1])), (("c", shades[2]),)])
    strip = TEXT + 7
    assert paper.shape == (2 * (20 + strip) + GAP, 2 * (30 + GAP) + GAP, 3)
    assert (paper[strip : strip + 20, GAP : GAP + 30] == 10).all()
    assert (paper[strip : strip + 20, 2 * GAP + 30 : 2 * GAP + 60] == 20).all()
    assert (paper[2 * strip + 20 : 2 * strip + 40, GAP : GAP + 30] == 30).all()
    assert paper[:strip, : GAP + 30].min() < 100, "a title is written there"
    assert (paper[strip + 20 :, GAP + 30 + GAP :] == 255).all(), "no second panel in that row"


@pytest.mark.parametrize(("width", "whole"), [(400, True), (60, False)])
def test_titles_are_shortened_to_their_panel(width: int, whole: bool) -> None:
    font = ImageFont.load_default(TEXT)
    title = fitted("a very long name of a camera", font, width)
    assert font.getlength(title) <= width
    assert (title == "a very long name of a camera") == whole and title.startswith("a very")
