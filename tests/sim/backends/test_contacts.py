"""Contacts that MJX would drop are counted before a training, and steps without room in it."""

import warnings
from collections import Counter
from collections.abc import Callable

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco import mjx

from mjx_s2r.sim.backends import contacts
from mjx_s2r.sim.backends.contacts import gauge, room, warn_of_lost_contacts
from mjx_s2r.sim.env import make
from tests.sim.toy import XML, Toy

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


def lost_at(mj_model: mujoco.MjModel, qpos: np.ndarray) -> int:
    """Returns how many touching contacts max_contact_points drops in the posture ``qpos`` (nq,).

    C MuJoCo, which has no such limit, counts them.
    """
    most = room(mj_model).limits.get("max_contact_points", -1)
    if most < 0:
        return 0
    data = mujoco.MjData(mj_model)
    data.qpos[:] = qpos
    mujoco.mj_forward(mj_model, data)
    touching = Counter(int(c.dim) for c in data.contact[: data.ncon] if c.dist < 0)
    return sum(max(count - most, 0) for count in touching.values())


def looks(mj_model: mujoco.MjModel) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the compiled look at postures (B, nq): no room for one more contact?"""
    limits, model = gauge(mj_model), mjx.put_model(mj_model, impl="jax")
    blank = mjx.make_data(mj_model, impl="jax")
    assert limits is not None

    def one(qpos: jax.Array) -> jax.Array:
        """Looks at one."""
        data = mjx.collision(model, mjx.kinematics(model, blank.replace(qpos=qpos)))
        return contacts.full(limits, model, data)

    return jax.jit(jax.vmap(one))


def test_a_posture_that_loses_contacts_is_full() -> None:
    """C MuJoCo counts what is lost; a world is full from the last contact on that has room."""
    mj_model = model('<numeric name="max_contact_points" data="3"/>')
    postures = np.tile(mj_model.qpos0, (16, 1))
    for i, posture in enumerate(postures):  # every choice of balls lifted
        posture[2::7] = np.where([i >> b & 1 for b in range(BALLS)], 1.0, 0.09)
    lost = np.array([lost_at(mj_model, q) for q in postures])
    touching = np.array([4 - i.bit_count() for i in range(16)])
    assert (lost == np.maximum(touching - 3, 0)).all()
    np.testing.assert_array_equal(looks(mj_model)(postures), touching >= 3)


def test_pairs_that_a_broad_phase_drops_are_seen() -> None:
    """Of six pairs of balls two are kept; C MuJoCo, without that limit, counts those that touch."""
    ball = '<body pos="{x} 0 0"><freejoint/><geom size="0.1"/></body>'
    bodies = "".join(ball.format(x=i) for i in range(BALLS))
    mj_model = mujoco.MjModel.from_xml_string(
        '<mujoco><custom><numeric name="max_geom_pairs" data="2"/></custom>'
        f"<worldbody>{bodies}</worldbody></mujoco>"
    )
    data, random = mujoco.MjData(mj_model), np.random.default_rng(0)
    postures = np.tile(mj_model.qpos0, (32, 1))
    for axis in range(3):
        postures[:, axis::7] = random.uniform(-0.15, 0.15, (32, BALLS))
    touching = []
    for data.qpos[:] in postures:
        mujoco.mj_forward(mj_model, data)
        touching.append(data.ncon)
    assert {1, 2, 3, 4} <= set(touching)
    np.testing.assert_array_equal(looks(mj_model)(postures), np.array(touching) > 2)


def test_no_limit_or_one_that_never_bites_needs_no_look() -> None:
    assert gauge(model("")) is None
    assert gauge(model('<numeric name="max_contact_points" data="4"/>')) is None


def test_an_environment_counts_steps_without_room() -> None:
    """The block rests on a plank with two corners; one of its two contacts has room."""
    feet = '<geom name="foot" size="0.1" pos="0.5 0 0" mass="1"/></body>'
    plank = '<geom name="plank" type="plane" size="9 9 1" pos="0 0 -0.09"/>'
    custom = '<custom><numeric name="max_contact_points" data="1"/></custom><worldbody>'
    text = XML.replace("</body>", feet + plank).replace("<worldbody>", custom)
    mj_model = mujoco.MjModel.from_xml_string(text)
    with pytest.warns(RuntimeWarning, match="keep 1 of 2 possible contacts"):
        env = make(Toy(mj_model=mj_model))

    def one(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Takes a step."""
        start = env.reset(key)
        return start.metrics["full"], env.step(start, jnp.zeros(1)).metrics["full"]

    assert jax.tree.map(float, jax.jit(one)(jax.random.key(0))) == (0, 1)
    assert "full" not in jax.eval_shape(make(Toy()).reset, jax.random.key(0)).metrics


@pytest.mark.parametrize(("cone", "rows"), [("pyramidal", 4), ("elliptic", 3)])
def test_what_a_model_can_touch_at_most_is_what_c_finds(cone: str, rows: int) -> None:
    mj_model = model("")
    mj_model.opt.cone = getattr(mujoco.mjtCone, f"mjCONE_{cone.upper()}")
    data = mujoco.MjData(mj_model)
    mujoco.mj_forward(mj_model, data)
    assert contacts.most_contacts(mj_model) == data.ncon
    assert contacts.rows_of_contacts(mj_model) == rows == data.nefc / data.ncon
