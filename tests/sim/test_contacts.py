"""Contacts that MJX would drop are counted before the training and in a posture."""

import warnings

import mujoco
import numpy as np
import pytest
from mujoco import mjx

from mjx_s2r.sim.contacts import lost_at, room, warn_of_lost_contacts

BALLS = 4


def model(custom: str) -> mujoco.MjModel:
    """Returns four balls on a floor; balls do not touch one another."""
    ball = '<body pos="{x} 0 {z}"><freejoint/><geom size="0.1" contype="0" conaffinity="1"/></body>'
    bodies = "".join(ball.format(x=i, z=0.09) for i in range(BALLS))
    return mujoco.MjModel.from_xml_string(
        f"<mujoco><custom>{custom}</custom><worldbody>"
        f'<geom type="plane" size="9 9 1"/>{bodies}</worldbody></mujoco>'
    )


def in_mjx(mj_model: mujoco.MjModel) -> int:
    """Returns how many contacts MJX makes room for."""
    return int(mjx.make_data(mj_model, impl="jax")._impl.ncon)


@pytest.mark.parametrize(
    ("custom", "kept"),
    [
        ("", BALLS),
        ('<numeric name="max_contact_points" data="3"/>', 3),
        ('<numeric name="max_contact_points" data="9"/>', BALLS),
    ],
)
def test_room_is_what_mjx_makes(custom: str, kept: int) -> None:
    mj_model = model(custom)
    found = room(mj_model)
    assert (found.kept, found.possible) == (kept, BALLS)
    assert found.kept == in_mjx(mj_model)
    assert room(mj_model) == found  # the model itself is left as it was


def test_only_a_limit_that_bites_is_warned_of() -> None:
    with pytest.warns(RuntimeWarning, match="max_contact_points=3 keep 3 of 4 possible contacts"):
        warn_of_lost_contacts(model('<numeric name="max_contact_points" data="3"/>'))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_lost_contacts(model('<numeric name="max_contact_points" data="9"/>'))
        warn_of_lost_contacts(model(""))


def test_what_a_posture_loses_is_counted() -> None:
    """All four balls sink 1 cm into the floor; two are lifted out of it."""
    mj_model = model('<numeric name="max_contact_points" data="3"/>')
    qpos = np.array(mj_model.qpos0)
    assert lost_at(mj_model, qpos) == 1
    qpos[[2, 9]] = 1.0
    assert lost_at(mj_model, qpos) == 0
    assert lost_at(model(""), mj_model.qpos0) == 0
