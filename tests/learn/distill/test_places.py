"""Telling image encoders where to look: the cross entropy of maps and keypoints."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.envs.registry import make_task
from mjx_s2r.io.config import ConfigError
from mjx_s2r.learn.distill.config import DistillConfig
from mjx_s2r.learn.distill.losses import BELL, place_loss
from mjx_s2r.learn.networks.gaussian import gaussian
from mjx_s2r.learn.networks.modules import soft_argmax
from tests.learn.distill.students import student_of


def _bell(height: int, width: int, place: tuple[float, float]) -> np.ndarray:
    """Returns (h, w) the bell around a place, by its definition, in places of the map."""
    column, row = (place[0] + 1) * width / 2 - 0.5, (place[1] + 1) * height / 2 - 0.5
    r, c = np.mgrid[:height, :width]
    out = np.exp(-((r - row) ** 2 + (c - column) ** 2) / (2 * BELL**2))
    return out / out.sum()


def test_the_loss_is_the_cross_entropy_with_a_bell(key: jax.Array) -> None:
    maps = jax.random.normal(key, (2, 4, 6, 3))
    spots = [[(0.1, -0.4), (0.9, 0.9)], [(-0.7, 0.2), (0.0, 0.0)]]
    wanted = []
    for n in range(2):
        for k in range(2):
            logits = np.asarray(maps[n, ..., k], float)
            share = np.exp(logits) / np.exp(logits).sum()
            wanted.append(-(_bell(4, 6, spots[n][k]) * np.log(share)).sum())
    assert float(place_loss(maps, jnp.array(spots))) == pytest.approx(np.mean(wanted), rel=1e-5)


def test_what_no_picture_shows_counts_for_nothing(key: jax.Array) -> None:
    maps = jax.random.normal(key, (3, 4, 4, 2))
    spots = jnp.array([[[0.1, 0.2]], [[np.nan, 0.0]], [[0.0, 1.4]]])
    alone = place_loss(maps[:1], spots[:1])
    np.testing.assert_allclose(place_loss(maps, spots), alone, rtol=1e-6)
    gradient = jax.grad(place_loss)(maps, spots)
    assert np.isfinite(gradient).all() and not np.asarray(gradient[1:]).any()
    assert float(place_loss(maps, jnp.full((3, 1, 2), jnp.nan))) == 0.0


def test_an_encoder_with_too_few_maps_is_named() -> None:
    config = DistillConfig(cnn_channels=1)
    with pytest.raises(ConfigError, match=r"cnn_channels 1: the task names 2 keypoints.*take 2 at"):
        student_of(lambda obs: gaussian(obs["state"], jnp.zeros(1)), make_task("reach"), config)


def test_the_least_loss_puts_the_keypoint_in_its_place() -> None:
    spot = (0.25, -0.1)
    logits = jnp.log(jnp.asarray(_bell(16, 16, spot), jnp.float32))[None, ..., None]
    np.testing.assert_allclose(soft_argmax(logits)[0] * 15 / 16, spot, atol=0.01)
    slope = jax.grad(place_loss)(logits, jnp.array([[spot]]))
    assert np.abs(slope).max() < 1e-5
