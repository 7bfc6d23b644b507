"""What REPPO's critic should say, and how a number is said in bins.

Targets are soft TD(lambda) returns (Voelcker et al. 2025). Bins follow HL-Gauss (Imani
and White 2018; Farebrother et al. 2024): a number is a Gaussian's mass in each of K bins, learned
by cross-entropy, and read back as the mean of the bins' middles.
"""

import jax
import jax.numpy as jnp


def td_lambda(
    rewards: jax.Array,
    next_values: jax.Array,
    bonuses: jax.Array,
    terminated: jax.Array,
    done: jax.Array,
    *,
    discount: float,
    trace: float,
) -> jax.Array:
    """Returns targets [T, B] of the value of what was done at each step.

        G_t = r_t + discount (1 - terminated_t) (h_t + (1 - c_t) Q_t + c_t G_{t+1})
        c_t = trace (1 - done_t), and 0 at the last step

    Args:
        rewards: [T, B].
        next_values: [T, B] Q of what was seen after each step, before any reset, and of an action
            drawn there.
        bonuses: [T, B] h, what that action's entropy is worth: -alpha log pi.
        terminated: [T, B] the future is worth nothing.
        done: [T, B] the episode ended here, terminated or truncated.
        discount: gamma.
        trace: lambda.
    """
    carry_on = (trace * (1.0 - done)).at[-1].set(0.0)
    future = discount * (1.0 - terminated)
    known = rewards + future * (bonuses + (1 - carry_on) * next_values)

    def back(later: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """Takes one step back in time."""
        now = inputs[0] + inputs[1] * later
        return now, now

    zero = jnp.zeros_like(rewards[0])
    return jax.lax.scan(back, zero, (known, future * carry_on), reverse=True)[1]


def middles(low: float, high: float, bins: int) -> jax.Array:
    """Returns (K,) the middles of ``bins`` equal bins from ``low`` to ``high``."""
    edges = jnp.linspace(low, high, bins + 1)
    return (edges[1:] + edges[:-1]) / 2


def encode(value: jax.Array, low: float, high: float, bins: int, spread: float) -> jax.Array:
    """Returns (..., K) the mass in each bin of a Gaussian around ``value`` (...), summing to 1.

    Args:
        value: what to say; beyond the bins it is taken as their end.
        low: where the first bin begins.
        high: where the last one ends.
        bins: K.
        spread: standard deviation, in bins.
    """
    scale = bins / (high - low)
    place = jnp.clip((value - low) * scale, 0, bins)
    edges = jnp.arange(bins + 1) - place[..., None]
    mass = jax.scipy.special.erf(edges / (jnp.sqrt(2.0) * spread))
    return (mass[..., 1:] - mass[..., :-1]) / (mass[..., -1:] - mass[..., :1])


def decode(logits: jax.Array, low: float, high: float) -> jax.Array:
    """Returns (...) the mean that ``logits`` (..., K) speak of."""
    return jax.nn.softmax(logits) @ middles(low, high, logits.shape[-1])
