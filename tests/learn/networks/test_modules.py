"""Networks: shapes, where the keypoints are, and what does not flow back."""

import jax
import jax.numpy as jnp
import numpy as np

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


def test_the_student_acts_on_its_estimate_but_does_not_bend_it(key: jax.Array) -> None:
    """Two cameras; the action's gradient must not reach the layers that make the estimate."""
    student = StudentNetwork((8,), num_actions=2, num_labels=3, cnn_channels=4)
    obs, images = jnp.ones((2, 5)), [jax.random.normal(key, (2, 16, 16, 3))] * 2
    params = jax.jit(student.init)(key, obs, images)
    policy, estimate = jax.eval_shape(student.apply, params, obs, images)
    assert policy.mean.shape == (2, 2) and estimate.shape == (2, 3)
    gradient = jax.jit(jax.grad(lambda p: student.apply(p, obs, images)[0].mean.sum()))(params)
    moved = {
        name: float(sum(np.abs(x).sum() for x in jax.tree.leaves(g)))
        for name, g in gradient["params"].items()
    }
    assert moved["Mlp_0"] == 0  # the estimate
    assert moved["Mlp_1"] > 0 and moved["ImageEncoder_0"] > 0 and moved["ImageEncoder_1"] > 0


def test_a_student_with_nothing_to_find_acts(key: jax.Array) -> None:
    student = StudentNetwork((8,), num_actions=2, num_labels=0, cnn_channels=4)
    obs, images = jnp.ones((3, 5)), [jnp.zeros((3, 16, 16, 3))]
    params = student.init(key, obs, images)
    policy, estimate = student.apply(params, obs, images)
    assert policy.mean.shape == (3, 2) and estimate.shape == (3, 0)
