"""Generalized advantages: numbers by hand, with a termination and a truncation."""

import jax.numpy as jnp
import numpy as np

from mjx_s2r.learn.gae import gae


def column(*numbers: float) -> jnp.ndarray:
    """Returns [T, 1]."""
    return jnp.array(numbers)[:, None]


def test_advantages_by_hand() -> None:
    """Discount 0.9, trace 0.5, so 0.45 per step back; truncated after step 2, terminated after 3.

    delta_0 = 1 + 0.9 x 1   - 0.5 = 1.4       A_0 = 1.4  + 0.45 x 7.075 = 4.58375
    delta_1 = 2 + 0.9 x 1.5 - 1   = 2.35      A_1 = 2.35 + 0.45 x 10.5  = 7.075
    delta_2 = 3 + 0.9 x 10  - 1.5 = 10.5      A_2 = 10.5, the next episode has no say
    delta_3 = 4             - 2   = 2         A_3 = 2, what comes after is worth nothing
    """
    advantage, target = gae(
        column(1, 2, 3, 4),
        column(0.5, 1, 1.5, 2),
        column(1, 1.5, 10, 7),
        column(0, 0, 0, 1),
        column(0, 0, 1, 1),
        gamma=0.9,
        gae_lambda=0.5,
    )
    np.testing.assert_allclose(advantage[:, 0], (4.58375, 7.075, 10.5, 2), rtol=1e-6)
    np.testing.assert_allclose(target[:, 0], (5.08375, 8.075, 12, 4), rtol=1e-6)


def test_the_end_of_a_rollout_is_bootstrapped() -> None:
    """One step, nothing ended: 1 + 0.5 x 8 - 2 = 3."""
    no = column(0)
    advantage, _ = gae(column(1), column(2), column(8), no, no, gamma=0.5, gae_lambda=0.9)
    assert float(advantage[0, 0]) == 3.0


def test_trace_one_sums_discounted_rewards_and_trace_zero_looks_one_step_ahead() -> None:
    """Rewards 1, 1, 1 to a termination, discount 0.5: returns 1.75, 1.5, 1."""
    rewards, ended = column(1, 1, 1), column(0, 0, 1)
    values, after = column(0.3, 0.2, 0.1), column(0.2, 0.1, 0.9)
    _, target = gae(rewards, values, after, ended, ended, gamma=0.5, gae_lambda=1.0)
    np.testing.assert_allclose(target[:, 0], (1.75, 1.5, 1.0), rtol=1e-6)
    _, target = gae(rewards, values, after, ended, ended, gamma=0.5, gae_lambda=0.0)
    np.testing.assert_allclose(target[:, 0], (1.1, 1.05, 1.0), rtol=1e-6)


def test_worlds_do_not_mix_and_booleans_are_taken() -> None:
    one = [column(1, 2), column(0, 1), column(1, 3), column(0, 1) > 0, column(0, 1) > 0]
    two = [column(-5, 7), column(4, 4), column(4, 4), column(1, 0) > 0, column(1, 0) > 0]
    both = [jnp.concatenate(pair, 1) for pair in zip(one, two, strict=True)]
    out = gae(*both, gamma=0.9, gae_lambda=0.8)
    for world, alone in enumerate((one, two)):
        expected = gae(*alone, gamma=0.9, gae_lambda=0.8)
        for x, y in zip(out, expected, strict=True):
            np.testing.assert_allclose(x[:, world], y[:, 0], rtol=1e-6)
