"""Camera and light found again from a picture, by gradient descent through the renderer."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mjx_s2r.render.geometry.scene import build_scene
from mjx_s2r.render.looks.appearance import Appearance
from tests.render.scenes import draw_float, load, look_of, pose_of, single

# A round shape that fills the picture: shading carries gradients, silhouettes do not.
CLOSE = """
<mujoco>
  <statistic extent="1"/>
  <worldbody>
    <light dir="-.5 .4 -1" directional="true"/>
    <camera name="front" pos=".05 -.05 .5" xyaxes="1 0 .1 0 1 .05" fovy="60"/>
    <geom type="ellipsoid" size=".5 .35 .3" rgba=".4 .6 .5 1" quat=".9 .2 .1 .3"/>
  </worldbody>
</mujoco>
"""

Draw = Callable[[Appearance], jax.Array]


@pytest.fixture(scope="module")
def draw() -> Draw:
    """The picture of a look, in [0, 1], of one large egg."""
    model, data = load(CLOSE)
    scene = build_scene(model, "front", 32, 32)
    return functools.partial(draw_float, scene, single(pose_of(scene, data)))


@pytest.fixture(scope="module")
def look() -> Appearance:
    """The nominal look of that scene."""
    model, _ = load(CLOSE)
    return single(look_of(model))


def _descend(
    loss: Callable[[jax.Array], jax.Array], start: jax.Array, rate: float, steps: int
) -> np.ndarray:
    """Returns where Adam ends."""
    optimiser = optax.adam(optax.cosine_decay_schedule(rate, steps))

    def step(
        carry: tuple[jax.Array, optax.OptState], _: None
    ) -> tuple[tuple[jax.Array, optax.OptState], None]:
        x, state = carry
        updates, state = optimiser.update(jax.grad(loss)(x), state)
        return (optax.apply_updates(x, updates), state), None

    run = jax.jit(lambda x: jax.lax.scan(step, (x, optimiser.init(x)), None, length=steps))
    return np.asarray(run(start)[0][0])


def test_light_direction_is_recovered(draw: Draw, look: Appearance) -> None:
    target = draw(look)
    truth = np.asarray(look.light_dir / jnp.linalg.norm(look.light_dir))

    def loss(direction: jax.Array) -> jax.Array:
        return jnp.mean((draw(look.replace(light_dir=direction)) - target) ** 2)

    start = jnp.asarray(truth) + jnp.array([0.2, 0.15, 0.0])
    found = _descend(loss, start, 0.03, 80)
    found = found / np.linalg.norm(found)
    assert np.degrees(np.arccos(found[0] @ truth[0])) < 1.0
    assert np.degrees(np.arccos(np.asarray(start / jnp.linalg.norm(start))[0] @ truth[0])) > 10


def test_camera_offset_is_recovered(draw: Draw, look: Appearance) -> None:
    shift = jnp.array([0.02, -0.03, 0.02])
    target = draw(look.replace(camera_pos=shift))

    def loss(offset: jax.Array) -> jax.Array:
        return jnp.mean((draw(look.replace(camera_pos=offset)) - target) ** 2)

    found = _descend(loss, jnp.zeros(3), 0.002, 150)
    assert np.linalg.norm(found - shift) < 0.05 * np.linalg.norm(shift)


def test_colour_and_exposure_gradients_match_finite_differences(
    draw: Draw, look: Appearance
) -> None:
    look = look.replace(gamma=jnp.float32(1.1), brightness=jnp.float32(0.9))

    def mean(x: jax.Array) -> jax.Array:
        edited = look.replace(
            geom_rgb=look.geom_rgb.at[0, 0].add(x[0]),
            ambient=look.ambient + x[1],
            gamma=look.gamma + x[2],
            headlight=look.headlight + x[3],
        )
        return jnp.mean(draw(edited))

    mean = jax.jit(mean)
    slopes = jax.jit(jax.grad(mean))(jnp.zeros(4))
    for i, slope in enumerate(slopes):
        step = 1e-2 * jnp.eye(4)[i]
        difference = (mean(step) - mean(-step)) / 2e-2
        assert slope == pytest.approx(float(difference), rel=0.02)
