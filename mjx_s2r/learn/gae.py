"""Generalized advantage estimation (Schulman et al. 2016, eq. 16) with true episode ends."""

import jax
import jax.numpy as jnp


def gae(
    rewards: jax.Array,
    values: jax.Array,
    next_values: jax.Array,
    terminated: jax.Array,
    done: jax.Array,
    *,
    gamma: float,
    gae_lambda: float,
) -> tuple[jax.Array, jax.Array]:
    """Returns advantages and value targets, both [T, B].

        delta_t = r_t + discount (1 - terminated_t) V'_t - V_t
        A_t     = delta_t + discount trace (1 - done_t) A_{t+1}

    Args:
        rewards: [T, B].
        values: [T, B] value of the observation before each step.
        next_values: [T, B] value of the observation after each step, before any reset.
        terminated: [T, B] the future is worth nothing.
        done: [T, B] the episode ended here, terminated or truncated.
        gamma: gamma.
        gae_lambda: lambda.
    """
    delta = rewards + gamma * (1.0 - terminated) * next_values - values
    carry_on = gamma * gae_lambda * (1.0 - done)

    def back(
        advantage: jax.Array, inputs: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        advantage = inputs[0] + inputs[1] * advantage
        return advantage, advantage

    zero = jnp.zeros_like(delta[0])
    advantages = jax.lax.scan(back, zero, (delta, carry_on), reverse=True)[1]
    return advantages, advantages + values
