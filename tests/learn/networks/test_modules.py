"""Networks: shapes, where the keypoints are, and what does not flow back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.learn.networks.modules import ActorHead, CriticHead, StudentNetwork, soft_argmax


def test_soft_argmax_of_a_peak_is_where_the_peak_is() -> None:
    """5 x 9 pixels from -1 to 1: row 1 is -0.5, column 6 is 0.5; columns come first."""
    features = np.zeros((2, 5, 9, 3), np.float32)
    features[0, 1, 6, 0] = features[0, 4, 0, 1] = features[1, 2, 4, 2] = 100.0
    out = soft_argmax(jnp.asarray(features))
    assert out.shape == (2, 6)
    columns, rows = out[:, :3], out[:, 3:]
    np.testing.assert_allclose(columns[0], (0.5, -1, 0), atol=1e-5)
    np.testing.assert_allclose(rows[0], (-0.5, 1, 0), atol=1e-5)
    np.testing.assert_allclose((columns[1], rows[1]), np.zeros((2, 3)), atol=1e-5)


def test_soft_argmax_of_two_peaks_lies_between_them() -> None:
    features = np.zeros((1, 3, 3, 1), np.float32)
    features[0, 0, 0, 0] = features[0, 0, 2, 0] = 100.0
    np.testing.assert_allclose(soft_argmax(jnp.asarray(features)), [[0, -1]], atol=1e-5)


def test_actor_and_critic_take_leading_axes(key: jax.Array) -> None:
    x = jax.random.normal(key, (4, 2, 7))
    policy = ActorHead((8,), 3).apply(ActorHead((8,), 3).init(key, x), x)
    assert policy.mean.shape == policy.log_std.shape == (4, 2, 3)
    np.testing.assert_allclose(policy.log_std, np.log(0.6), rtol=1e-6)
    assert np.abs(policy.mean).max() < 0.5  # a new actor all but stands still
    value = CriticHead((8,)).apply(CriticHead((8,)).init(key, x), x)
    assert value.shape == (4, 2)


def test_a_deviation_may_depend_on_the_state_within_bounds(key: jax.Array) -> None:
    """A new one explores as told everywhere; weights a thousandfold reach both bounds, no more."""
    head = ActorHead((8,), 3, state_dependent_std=True)
    x = jax.random.normal(key, (64, 7))
    params = head.init(key, x)
    out = head.apply(params, x)
    assert out.mean.shape == out.log_std.shape == (64, 3)
    np.testing.assert_allclose(out.log_std, np.log(0.6), atol=0.2)
    assert np.ptp(out.log_std[:, 0]) > 0
    wide = head.apply(jax.tree.map(lambda p: 1e3 * p, params), x).log_std
    assert (wide.min(), wide.max()) == (-5, 2)


def given(
    worlds: int, steps: int, units: int, cameras: int = 1
) -> tuple[jax.Array, jax.Array, tuple[jax.Array, ...], jax.Array]:
    """Returns what a student is given: recurrent state, readings, pictures, beginnings."""
    rng = np.random.default_rng(0)
    obs = jnp.asarray(rng.normal(size=(steps, worlds, 5)), jnp.float32)
    size = (steps, worlds, 16, 16, 3)
    images = tuple(jnp.asarray(rng.integers(0, 256, size), jnp.uint8) for _ in range(cameras))
    state = jnp.asarray(rng.normal(size=(worlds, units)), jnp.float32)
    return state, obs, images, jnp.zeros((steps, worlds), bool)


def test_the_student_acts_on_its_estimate_but_does_not_bend_it(key: jax.Array) -> None:
    """Two cameras; the action's gradient must not reach the layers that make the estimate."""
    student = StudentNetwork((8,), num_actions=2, num_labels=3, cnn_channels=4)
    inputs = given(2, 1, 0, cameras=2)
    params = jax.jit(student.init)(key, *inputs)
    out = jax.eval_shape(student.apply, params, *inputs)
    assert out.policy.mean.shape == (1, 2, 2) and out.estimate.shape == (1, 2, 3)
    assert out.value.shape == (1, 2) and out.rnn_state.shape == (1, 2, 0)
    assert out.features.shape == (1, 2, 2 * 2 * 4 + 5)
    gradient = jax.jit(jax.grad(lambda p: student.apply(p, *inputs).policy.mean.sum()))(params)
    moved = {
        name: float(sum(np.abs(x).sum() for x in jax.tree.leaves(g)))
        for name, g in gradient["params"].items()
    }
    assert moved["Mlp_0"] == 0  # the estimate
    assert moved["Mlp_1"] > 0 and moved["ImageEncoder_0"] > 0 and moved["ImageEncoder_1"] > 0


def test_a_student_with_nothing_to_find_acts(key: jax.Array) -> None:
    student = StudentNetwork((8,), num_actions=2, num_labels=0, cnn_channels=4)
    inputs = given(3, 1, 0)
    out = student.apply(student.init(key, *inputs), *inputs)
    assert out.policy.mean.shape == (1, 3, 2) and out.estimate.shape == (1, 3, 0)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Returns the logistic function."""
    return 1 / (1 + np.exp(-x))


@pytest.mark.slow
def test_a_student_remembers_until_an_episode_begins(key: jax.Array) -> None:
    """The oracle: the equations of the gated recurrent unit in numpy, step by step.

    r = s(W_ir x + b_ir + W_hr h), z likewise, n = tanh(W_in x + b_in + r (W_hn h + b_hn)),
    h' = (1 - z) n + z h; at the beginning of an episode h is zero.
    """
    units, student = 4, StudentNetwork((8,), 2, 3, cnn_channels=4, rnn_hidden=4)
    state, obs, images, first = given(2, 5, units)
    first = first.at[2, 1].set(True)
    params = student.init(key, state, obs, images, first)
    out = student.apply(params, state, obs, images, first)
    plain = StudentNetwork((8,), 2, 3, cnn_channels=4)
    whole = {k: v for k, v in params["params"].items() if k != "GRUCell_0"}
    seen = jax.eval_shape(plain.init, key, state[:, :0], obs, images, first)["params"]
    whole |= {k: jax.tree.map(lambda x: jnp.zeros(x.shape), seen[k]) for k in ("Mlp_0", "Mlp_1")}
    features = plain.apply({"params": whole}, state[:, :0], obs, images, first).features
    cell = jax.tree.map(np.asarray, params["params"]["GRUCell_0"])
    h, kept = np.asarray(state), []
    for x, begins in zip(np.asarray(features), np.asarray(first), strict=True):
        h = np.where(begins[:, None], 0, h)
        r, z = (
            sigmoid(
                x @ cell["i" + g]["kernel"] + cell["i" + g]["bias"] + h @ cell["h" + g]["kernel"]
            )
            for g in "rz"
        )
        n = x @ cell["in"]["kernel"] + cell["in"]["bias"]
        n = np.tanh(n + r * (h @ cell["hn"]["kernel"] + cell["hn"]["bias"]))
        h = (1 - z) * n + z * h
        kept.append(h)
    np.testing.assert_allclose(out.rnn_state, kept, atol=1e-5)
    other = student.apply(params, state + 1, obs, images, first)
    same = np.isclose(out.policy.mean, other.policy.mean, atol=1e-6).all(-1)
    np.testing.assert_array_equal(same, [[0, 0], [0, 0], [0, 1], [0, 1], [0, 1]])
    deployed = student.clone(deployed=True)
    step = deployed.apply(params, state, obs[0], [images[0][0]], first[0])
    np.testing.assert_allclose(step.rnn_state, out.rnn_state[0], atol=1e-6)
    np.testing.assert_allclose(step.policy.mean, out.policy.mean[0], atol=1e-6)
