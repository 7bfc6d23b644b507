"""Minibatches take every step, or every world, once per epoch; values are clipped as written."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.learn import minibatches
from mjx_s2r.learn.networks.actor_critic import ActorCritic
from mjx_s2r.learn.networks.gaussian import Gaussian
from mjx_s2r.learn.networks.swish import swish
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.learn.ppo.losses import Batch, ppo_loss, squared_value_error
from mjx_s2r.learn.ppo.ppo import by_steps


@pytest.mark.parametrize(
    ("worlds", "minibatches", "units", "groups"),
    [(512, 4, 8, 64), (512, 8, 8, 64), (96, 4, 8, 8), (12, 4, 8, 1), (12, 4, 0, 4), (7, 4, 0, 1)],
)
def test_groups_divide_into_minibatches(
    worlds: int, minibatches: int, units: int, groups: int
) -> None:
    """Of worlds where the networks remember, else of the steps of the worlds."""
    config = PPOConfig(num_envs=worlds, num_minibatches=minibatches, rnn_hidden=units)
    assert config.groups == groups
    items = worlds if units else worlds * config.num_steps
    assert worlds % groups == 0 and items % (groups * minibatches) == 0


@pytest.mark.parametrize("size", [1, 2, 240, 256, 5000])
def test_every_item_is_chosen_once_and_evenly(size: int, key: jax.Array) -> None:
    """An epoch holds each place once; over many, an item comes anywhere equally often."""
    picked = np.asarray(minibatches.chosen(400, size, 1, key=key))[0]
    np.testing.assert_array_equal(np.sort(picked, axis=1), np.tile(np.arange(size), (400, 1)))
    if size > 2:
        means = picked.mean(0)  # of each position, over 400 groups
        spread = np.sqrt((size**2 - 1) / 12 / 400)
        assert np.abs(means - (size - 1) / 2).max() < 5 * spread
        assert len({tuple(row) for row in picked}) > 390


def test_single_steps_stay_in_their_group_with_all_that_belongs_to_them() -> None:
    """Three steps of four worlds in two groups; the step of world b at time t is 10 t + b."""
    x = 10 * jnp.arange(3)[:, None] + jnp.arange(4)
    wide = jnp.stack((x, -x), -1)
    none = jnp.zeros((1, 4, 0))
    batch = Batch(wide, wide, (), *[x] * 6, none, none)
    out = by_steps(batch, 2)
    expected = np.array([[0, 1, 10, 11, 20, 21, 2, 3, 12, 13, 22, 23]])
    np.testing.assert_array_equal(out.target, expected)
    np.testing.assert_array_equal(out.actor_obs, np.stack((expected, -expected), -1))
    assert out.actor_rnn_state.shape == out.critic_rnn_state.shape == (1, 12, 0)


def test_a_minibatch_takes_the_chosen_worlds_of_each_group_whole() -> None:
    """Two groups of four worlds; world b at time t is 10 t + b."""
    x = 10 * jnp.arange(3)[:, None] + jnp.arange(8)
    part = minibatches.take_items(x, jnp.array([[3, 1], [0, 2]]))
    np.testing.assert_array_equal(part, 10 * np.arange(3)[:, None] + np.array((3, 1, 4, 6)))


def test_clipped_values_earn_nothing_beyond_the_clip() -> None:
    """Was 0, should be 1, may move 0.2: moved to 0.5, the error counts as if it were at 0.2."""
    batch = Batch(
        *[jnp.zeros(())] * 2, (), *[jnp.zeros(())] * 4, jnp.ones(()), *[jnp.zeros(())] * 3
    )
    free = PPOConfig()
    assert float(squared_value_error(free, jnp.float32(0.5), batch)) == pytest.approx(0.25)
    clipped = replace(free, value_clip=0.2)
    assert float(squared_value_error(clipped, jnp.float32(0.5), batch)) == pytest.approx(0.64)
    assert float(squared_value_error(clipped, jnp.float32(0.1), batch)) == pytest.approx(0.81)
    assert float(squared_value_error(clipped, jnp.float32(-0.5), batch)) == pytest.approx(2.25)


def test_swish_is_swish(key: jax.Array) -> None:
    """Values and derivatives against jax's own; the tails are exact, too."""
    x = jnp.concatenate((5 * jax.random.normal(key, (100,)), jnp.array((-80.0, 0.0, 80.0))))
    np.testing.assert_allclose(swish(x), jax.nn.swish(x), atol=2e-6)
    ours, theirs = (jax.vmap(jax.grad(f))(x) for f in (swish, jax.nn.swish))
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_an_actor_that_began_as_a_student_is_held_near_its_teacher(key: jax.Array) -> None:
    """The loss grows by the weight times KL(teacher || actor), computed here by hand."""
    nets = ActorCritic(PPOConfig(actor_hidden=(4,), critic_hidden=(4,)), num_actions=2)
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    teacher = Gaussian(draw(1, 6, 2), draw(1, 6, 2))
    plain = Batch(
        actor_obs=draw(1, 6, 3),
        critic_obs=draw(1, 6, 3),
        images=(),
        is_first=jnp.zeros((1, 6), bool),
        raw_action=draw(1, 6, 2),
        log_prob=draw(1, 6),
        advantage=draw(1, 6),
        target=draw(1, 6),
        value=draw(1, 6),
        actor_rnn_state=jnp.zeros((1, 6, 0)),
        critic_rnn_state=jnp.zeros((1, 6, 0)),
    )
    params = nets.init(3, 3, key=key)
    batch = replace(plain, teacher=teacher)
    free, metrics = ppo_loss(nets, params, plain)
    held, told = ppo_loss(nets, params, batch, 0.5)
    none = jnp.zeros((6, 0))
    mine = nets.policy(params[0], none, plain.actor_obs, (), plain.is_first)[1]
    ratio = np.exp(2 * (teacher.log_std - mine.log_std))
    far = ((teacher.mean - mine.mean) / np.exp(mine.log_std)) ** 2
    kl = 0.5 * float(np.sum(ratio + far - 1 - np.log(ratio), -1).mean())
    assert float(told.teacher_kl) == pytest.approx(kl, rel=1e-4) and metrics.teacher_kl is None
    assert float(held - free) == pytest.approx(0.5 * kl, rel=1e-4)
