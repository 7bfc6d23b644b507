"""Panels that compare renderers: MuJoCo's picture beside ours, and what else a camera gives."""

import mujoco
import numpy as np
import pytest
from mujoco import mjx

from mjx_s2r.render.looks.assets import RenderConfig
from train.viewer import panels
from train.viewer.panels import render_cameras

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


@pytest.mark.slow
def test_every_camera_sees_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A red ball before a blue wall, seen from above; from aside there is the wall alone."""
    data = mujoco.MjData(MODEL)
    mujoco.mj_forward(MODEL, data)
    images, left_out = render_cameras(MODEL, ("above", "aside"), 16, data, RenderConfig())
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
