"""A depth camera all the way: drawn in training, exported, delivered by a robot, read alike."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_s2r.contract import (
    DEPTH_CODES,
    CameraSignal,
    ContractError,
    camera_signal,
    encode_depth,
    from_json,
    to_json,
)
from mjx_s2r.learn.networks.augment import to_float
from mjx_s2r.onnx_export import export_onnx
from mjx_s2r.params import ParamSpace, set_to
from mjx_s2r.render.cameras import Cameras, bind_cameras, poses, take_pictures, to_rgb
from mjx_s2r.robot.clock import VirtualClock
from mjx_s2r.robot.driver import CameraInfo, check
from mjx_s2r.robot.drivers.mujoco_wiring import Rig
from mjx_s2r.robot.drivers.sim_robot import SimRobot, can_render
from mjx_s2r.robot.frames import FrameStack, as_read
from mjx_s2r.robot.policy import Policy
from mjx_s2r.robot.safety import Guard, SafetyConfig
from tests.robot.fakes import contract_for, first_actions, info_for, reading_at

ROOM = """
<mujoco>
  <visual><map znear="0.01" zfar="10"/><quality offsamples="0"/></visual><statistic extent="1"/>
  <worldbody>
    <camera name="front" pos="0 -0.5 0.45" xyaxes="1 0 0 0 0.6 0.8"/>
    <geom type="plane" size="0.4 0.4 0.1"/>
    <body name="upper" pos="0.05 0 0.1">
      <joint name="a" axis="0 0 1"/><geom type="box" size="0.08 0.1 0.1" mass="0.2"/>
      <body name="fore" pos="0 0 0.1">
        <joint name="b" axis="0 0 1"/><geom type="capsule" size="0.05 0.1" mass="0.1"/>
      </body>
    </body>
  </worldbody>
  <actuator><position joint="a" kp="20"/><position joint="b" kp="20"/></actuator>
</mujoco>"""
MODEL = mujoco.MjModel.from_xml_string(ROOM)
CAMERA = CameraSignal("front", 32, 32, 10.0, 1, "depth", 0.3, 1.0)
CONTRACT = replace(contract_for(cameras=True), cameras=(CAMERA,))
SPACE = ParamSpace((set_to("farthest", "visual.depth_far", (), (0.3, 1.0), nominal=1.0, unit="m"),))


def test_codes_are_shares_of_the_range_and_no_answer_is_the_farthest() -> None:
    metres = np.array([0.3, 0.65, 1.0, 0.0, 0.29, 1.2, np.nan, np.inf], np.float32)
    codes = encode_depth(np, CAMERA, metres)
    assert codes.dtype == np.uint16
    half = round(0.5 * DEPTH_CODES)
    assert codes.tolist()[:1] + codes.tolist()[2:] == [0, *[DEPTH_CODES] * 6]
    assert abs(int(codes[1]) - half) <= 1
    np.testing.assert_array_equal(encode_depth(jnp, CAMERA, jnp.asarray(metres)), codes)
    np.testing.assert_allclose(to_float(jnp.asarray(codes[:3])), [-0.5, 0.0, 0.5], atol=1e-4)


def test_a_robot_may_count_millimetres_or_give_metres() -> None:
    metres = np.linspace(0, 1.2, 32 * 32, dtype=np.float32).reshape(32, 32)
    metres[0, :3] = np.nan, np.inf, -1.0
    counts = np.where(np.isfinite(metres) & (metres > 0), np.round(metres * 1000), 0)
    told = as_read(CAMERA, metres)
    assert told.shape == (32, 32, 1) and told.dtype == np.float32
    known = (metres >= 0.3) & (metres <= 1.0)
    np.testing.assert_array_equal(told[..., 0], np.where(known, metres, 0))
    both = known & (as_read(CAMERA, counts.astype(np.uint16))[..., 0] > 0)
    gap = np.abs(as_read(CAMERA, counts.astype(np.uint16)) - told)[..., 0][both]
    assert gap.max() <= 0.0005 + 1e-6
    stack = FrameStack(replace(CONTRACT, cameras=(replace(CAMERA, frames=2),)))
    stack.push({"front": metres}, {"front": 1.0})
    assert stack.push({"front": metres / 2}, {"front": 2.0})["front"].shape == (32, 32, 2)


@pytest.fixture(scope="module")
def drawn() -> tuple[Cameras, np.ndarray]:
    """The cameras, and codes (2, 32, 32, 1) of the nominal world and one that sees to 0.8 m."""
    cameras = bind_cameras(SPACE, MODEL, CONTRACT)
    data = mujoco.MjData(MODEL)
    mujoco.mj_forward(MODEL, data)
    where = jax.tree.map(lambda x: jnp.repeat(jnp.float32(x)[None], 2, 0), poses(cameras, data))
    draw = jax.jit(lambda w, xi, key: take_pictures(cameras, w, xi, key=key)[0])
    return cameras, np.asarray(draw(where, jnp.array([[1.0], [0.8]]), jax.random.key(0)))


def test_rows_of_depth_act(drawn: tuple[Cameras, np.ndarray]) -> None:
    codes = drawn[1][..., 0].astype(int)
    assert codes.shape == (2, 32, 32)
    limit = int(encode_depth(np, CAMERA, np.float32(0.8)))
    far, near = codes[0] > limit + 1, codes[0] < limit - 1
    assert (far & (codes[0] < DEPTH_CODES)).any() and near.any()
    assert (codes[1][far] == DEPTH_CODES).all()
    np.testing.assert_array_equal(codes[1][near], codes[0][near])
    assert to_rgb(drawn[1]).shape == (2, 32, 32, 3)


@pytest.mark.skipif(not can_render(), reason="MuJoCo finds no OpenGL here")
def test_training_sees_the_depth_that_the_stand_in_delivers(
    drawn: tuple[Cameras, np.ndarray],
) -> None:
    """MuJoCo's depth buffer is the oracle; edges, where it rounds to another pixel, are few."""
    clock = VirtualClock(0.0)
    robot = SimRobot(MODEL, Rig(("a", "b"), 10.0, (CAMERA,)), clock)
    robot.connect()
    images = robot.read().images
    robot.close()
    assert images["front"].dtype == np.float32 and images["front"].shape == (32, 32)
    theirs = encode_depth(np, CAMERA, as_read(CAMERA, images["front"])).astype(int)
    apart = np.abs(drawn[1][0].astype(int) - theirs) * (0.7 / DEPTH_CODES)
    assert np.mean(theirs < DEPTH_CODES) > 0.3
    assert np.mean(apart < 1e-3) > 0.98


def test_the_file_reads_metres_and_computes_what_jax_computes(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).normal(size=(CONTRACT.size, 2)).astype(np.float32)
    kernel = np.random.default_rng(1).normal(size=(32 * 32, 2)).astype(np.float32) / 32

    def policy(obs: jax.Array, image: jax.Array) -> jax.Array:
        assert image.dtype == jnp.uint16
        return jnp.tanh(obs @ weights + to_float(image).reshape(obs.shape[0], -1) @ kernel)

    done = export_onnx(policy, CONTRACT, tmp_path / "policy.onnx", inputs=16)
    loaded = Policy.load(done.path)
    assert loaded.contract == CONTRACT and done.parity < 1e-5
    metres = np.full((1, 32, 32, 1), 0.65, np.float32)
    obs = np.zeros((1, CONTRACT.size), np.float32)
    expected = np.tanh(0.0 * kernel.sum(0)) * np.array(CONTRACT.action.scale)  # the middle is 0
    np.testing.assert_allclose(
        first_actions(loaded, obs, {"front": metres})[0],
        expected,
        atol=1e-3 * max(CONTRACT.action.scale),
    )


def test_the_guard_and_the_check_of_a_robot_know_depth() -> None:
    info = info_for(CONTRACT)
    with pytest.raises(ContractError, match="'front' delivers rgb, the policy reads depth"):
        check(CONTRACT, info)
    fits = replace(info, cameras=(CameraInfo("front", 32, 32, 10.0, "depth"),))
    guard = Guard.build(SafetyConfig(), CONTRACT, fits)
    for image, shape in (
        (np.ones((32, 32), np.float32), False),
        (np.ones((32, 32), np.uint16), False),
        (np.ones((32, 32), np.float64), True),
        (np.ones((32, 32, 3), np.uint8), True),
    ):
        reading = replace(reading_at(1.0, CONTRACT), images={"front": image})
        reading = replace(reading, image_time_s={"front": 1.0})
        events = guard.inspect(reading, 1.0).events
        assert ("shape" in [e.code for e in events]) == shape


def test_the_contract_travels_and_names_what_is_wrong() -> None:
    assert from_json(to_json(CONTRACT)) == CONTRACT
    assert camera_signal("front:32x32@10:depth0.3-1.0") == CAMERA
    for changes, message in (
        ({"far": 0.2}, "write 0 <= near < far"),
        ({"unit_m": 0.0}, "unit_m 0.0 m must be above zero"),
        ({"kind": "infrared"}, "must be one of"),
        ({"kind": "rgb"}, "are of a depth camera"),
    ):
        with pytest.raises(ContractError, match=message):
            replace(CAMERA, **changes)  # type: ignore[arg-type]
