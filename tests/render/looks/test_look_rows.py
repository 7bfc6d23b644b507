"""Visual rows that no picture shows are refused by name, before anything is drawn."""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_s2r.contract import CameraSignal
from mjx_s2r.envs.cartpole import CONTRACT
from mjx_s2r.envs.registry import make_task, task_names
from mjx_s2r.params import Param, ParamError, ParamSpace, add, scale, set_to
from mjx_s2r.render.cameras import check_looks
from mjx_s2r.render.looks.appearance import appearance, bind_appearance

XML = """
<mujoco><worldbody>
  <light name="sun" pos="0 0 3" castshadow="false" specular="0 0 0"/>
  <camera name="front" pos="0 -1 1"/><camera name="wrist" pos="0 0 1"/><camera name="back"/>
  <geom name="box" type="box" size="0.1 0.1 0.1" rgba="0 0.5 0.5 1"/>
</worldbody></mujoco>"""
MODEL = mujoco.MjModel.from_xml_string(
    XML.replace("<world", '<visual><headlight specular="0 0 0"/></visual><world')
)
COLOUR = CameraSignal("front", 8, 8, 50.0)
WRIST = CameraSignal("wrist", 8, 8, 50.0)
DEPTH = CameraSignal("wrist", 8, 8, 50.0, 1, "depth", 0.1, 2.0)
BOX = ("box",)


def _check(row: Param, *cameras: CameraSignal) -> None:
    """Checks one row against the cameras of a contract."""
    check_looks(ParamSpace((row,)), MODEL, replace(CONTRACT, cameras=cameras))


NOISE = set_to("noise", "visual.depth_noise", (), (0, 0.01), unit="1/m")
REFUSED: list[tuple[Param, tuple[CameraSignal, ...], str]] = [
    (scale("a", "visual.brightnes", (), (0.5, 2)), (COLOUR,), "did you mean 'brightness'"),
    (scale("a", "visual.brightnes", (), (0.5, 2)), (), "did you mean 'brightness'"),
    (NOISE, (COLOUR,), "no depth camera is in the contract"),
    (set_to("n", "visual.depth_noise", ("front",), (0, 1)), (COLOUR, DEPTH), "no depth camera"),
    (scale("c", "visual.contrast", (), (0.5, 2)), (DEPTH,), "depth cameras see no colour"),
    (scale("c", "visual.geom_rgb", BOX, (0.5, 2), column=1), (DEPTH,), "see no colour"),
    (scale("c", "visual.geom_rgb", BOX, (0.5, 2), column=0), (COLOUR,), "of 'box' changes nothing"),
    (scale("c", "visual.contrast", ("back",), (0.5, 2)), (COLOUR,), "contract has .'front'."),
    (scale("c", "visual.contrast", ("bak",), (0.5, 2)), (COLOUR,), "did you mean 'back'"),
    (scale("h", "visual.hue", (), (0.5, 2)), (COLOUR,), "changes nothing: the picture is the same"),
    (set_to("b", "visual.bits", (), (9, 12), nominal=9), (COLOUR,), "changes nothing"),
    (set_to("n", "visual.light_count", (), (1, 8), nominal=8), (COLOUR,), "changes nothing"),
    (set_to("g", "visual.geom_shown", BOX, (0.6, 1), nominal=1), (COLOUR,), "changes nothing"),
    (scale("t", "visual.texture_m", BOX, (0.5, 2)), (COLOUR,), "no texture is there"),
    (scale("s", "visual.specular", (), (0.5, 2)), (COLOUR,), "no light .* has highlights"),
    (set_to("s", "visual.light_softness", ("sun",), (0, 0.1)), (COLOUR,), "casts no shadow"),
    (set_to("f", "visual.depth_far", (), (2, 4), nominal=2), (DEPTH,), "answers from 0.1 to 2 m"),
    (set_to("d", "visual.frame_delay_s", ("bak",), (0, 0.1)), (COLOUR,), "did you mean 'back'"),
]


@pytest.mark.parametrize(("row", "cameras", "message"), REFUSED)
def test_a_row_that_no_picture_shows_is_refused(
    row: Param, cameras: tuple[CameraSignal, ...], message: str
) -> None:
    with pytest.raises(ParamError, match=message):
        _check(row, *cameras)


@pytest.mark.parametrize(
    ("row", "cameras"),
    [
        (NOISE, (COLOUR, DEPTH)),
        (NOISE, ()),  # cameras may come later
        (scale("c", "visual.contrast", ("w*",), (0.5, 2)), (COLOUR, WRIST)),
        (add("p", "visual.camera_pos", ("wrist",), (-0.1, 0.1)), (DEPTH,)),
        (set_to("d", "visual.frame_delay_s", (), (0, 0.1), unit="s"), (DEPTH,)),
        (set_to("g", "visual.geom_shown", BOX, (0, 1), nominal=1), (DEPTH,)),
        (set_to("b", "visual.bits", (), (4, 8), nominal=8), (COLOUR,)),
    ],
)
def test_a_row_that_shows_is_taken(row: Param, cameras: tuple[CameraSignal, ...]) -> None:
    _check(row, *cameras)


@pytest.mark.parametrize("name", task_names())
def test_rows_of_shipped_tasks_show(name: str) -> None:
    task = make_task(name)
    check_looks(task.space, task.mj_model, task.contract)


def test_each_camera_has_a_pose_of_its_own() -> None:
    space = ParamSpace(
        (
            add("one", "visual.camera_pos", ("front",), (-1, 1), column=0, unit="m"),
            add("other", "visual.camera_pos", ("wrist",), (-1, 1), column=0, unit="m"),
            add("both", "visual.camera_fovy", (), (-5, 5), unit="deg"),
        )
    )
    xi = jnp.array([0.25, -0.5, 3.0])
    seen: dict[str, Any] = {
        name: appearance(bind_appearance(space, MODEL, name), xi) for name in ("front", "wrist")
    }
    np.testing.assert_allclose(seen["front"].camera_pos, [0.25, 0, 0])
    np.testing.assert_allclose(seen["wrist"].camera_pos, [-0.5, 0, 0])
    assert all(float(look.camera_fovy) == 48.0 for look in seen.values())
