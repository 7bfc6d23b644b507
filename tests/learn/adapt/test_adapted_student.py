"""What adaptation adds to a student changes nothing at the start, and what it says afterwards."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from mjx_s2r.learn.adapt.adapted_student import (
    REAL,
    SIMULATED,
    AdaptedParams,
    AdaptedStudent,
    init_adapter,
    trained_leaves,
    with_adapter,
)
from mjx_s2r.learn.networks.modules import StudentNetwork

READINGS = 3


def inputs(network: StudentNetwork, steps: int = 2) -> tuple[Any, ...]:
    """Returns random inputs of two worlds, as `StudentNetwork` takes them."""
    rng = np.random.default_rng(0)
    memory = jnp.asarray(rng.normal(size=(2, network.rnn_hidden)), jnp.float32)
    obs = jnp.asarray(rng.normal(size=(steps, 2, READINGS)), jnp.float32)
    image = jnp.asarray(rng.integers(0, 256, (steps, 2, 8, 12, 3)), jnp.uint8)
    return memory, obs, (image,), jnp.zeros((steps, 2), bool)


# Labels, units of memory, value head.
STUDENTS = [
    (2, 5, False),
    pytest.param((0, 0, False), marks=pytest.mark.slow),
    pytest.param((2, 0, True), marks=pytest.mark.slow),
]


@pytest.fixture(scope="module", params=STUDENTS)
def started(request: pytest.FixtureRequest) -> tuple[StudentNetwork, Any, AdaptedParams]:
    """A network with or without labels, value head, memory; its parameters; the adapted ones."""
    labels, memory, value = request.param
    network = StudentNetwork((6,), 2, labels, 4, memory, value)
    given = inputs(network)
    params = jax.jit(network.init)(jax.random.key(0), *given)
    student = AdaptedStudent(network, (7,), True)
    return network, params, student.init(params, *given, rank=2, key=jax.random.key(1))


@pytest.mark.parametrize("domain", [SIMULATED, REAL])
def test_at_the_start_it_is_the_student(started: tuple, domain: float) -> None:
    network, params, adapted = started
    student = AdaptedStudent(network, (7,), True, domain)
    mine = jax.jit(student.apply)(adapted, *inputs(network))
    own = jax.jit(network.apply)(params, *inputs(network))
    for name in ("policy", "estimate", "value", "rnn_state"):
        pairs = zip(*map(jax.tree.leaves, (getattr(mine, name), getattr(own, name))), strict=True)
        for a, b in pairs:
            np.testing.assert_allclose(a, b, atol=2e-6, err_msg=name)


@pytest.mark.slow
def test_the_bit_is_felt_where_its_weights_are_not_zero(started: tuple) -> None:
    """And they are learned on the robot alone: in simulation the bit is 0."""
    network, params, adapted = started

    def total(student: Any, domain: float) -> jax.Array:
        """Returns a number that the action bears on."""
        mine = AdaptedStudent(network, (7,), True, domain)
        given = AdaptedParams(student, adapted.adapter, adapted.residual, adapted.alignment)
        return jnp.sum(mine.apply(given, *inputs(network)).policy.mean)

    old = flatten_dict(params)
    grown = 0
    for domain in (SIMULATED, REAL):
        gradient = flatten_dict(jax.grad(total)(adapted.student, domain))
        for name, value in flatten_dict(adapted.student).items():
            if value.shape == old[name].shape:
                continue
            grown += 1
            new = np.flatnonzero((np.asarray(value) == 0).all(1))
            assert len(new) == 1
            np.testing.assert_array_equal(np.delete(value, new, 0), old[name])
            felt = bool((np.asarray(gradient[name])[new] != 0).any())
            # The estimate's own layers do not act: their gradient is stopped.
            acts = not (network.num_labels and "Mlp_0" in name)
            assert felt == (domain == REAL and acts)
    assert grown >= 2


def test_an_adapter_adds_its_product() -> None:
    params = {
        "params": {
            "a": {"kernel": jnp.ones((2, 3, 4)), "bias": jnp.ones(4)},
            "backbone": {"stem": jnp.ones((3, 3))},
        }
    }
    adapter = init_adapter(params, 2, key=jax.random.key(0))
    assert jax.tree.all(jax.tree.map(np.array_equal, with_adapter(params, adapter), params))
    low = adapter["params"]["a"]["kernel"]
    low["b"] = jnp.arange(8.0).reshape(2, 4)
    expected = np.asarray(low["a"]) @ np.arange(8.0).reshape(2, 4)
    changed = with_adapter(params, adapter)["params"]["a"]
    np.testing.assert_allclose(changed["kernel"] - 1, expected.reshape(2, 3, 4), rtol=1e-6)
    np.testing.assert_array_equal(changed["bias"], np.ones(4))
    assert "backbone" not in adapter["params"]


def test_stages_train_what_they_say(started: tuple) -> None:
    network, _, adapted = started
    stages = ("all", "head", "last", "adapter", "residual")
    marks = trained_leaves(adapted, stages, network)
    student = {"/".join(k): np.asarray(v) for k, v in flatten_dict(marks.student).items()}
    own = "Mlp_1" if network.num_labels else "Mlp_0"
    for name, mark in student.items():
        last = name.startswith(f"params/{own}/Dense_1/") or name == "params/log_std"
        behind = "ImageEncoder" in name or "GRUCell" in name
        np.testing.assert_array_equal(mark, [1, not behind, last, 0, 0], err_msg=name)
    assert sum(mark[2] for mark in student.values()) == 3  # kernel, bias, log_std
    for tree, expected in ((marks.adapter, [0, 0, 0, 1, 0]), (marks.residual, [0, 0, 0, 0, 1])):
        for leaf in jax.tree.leaves(tree):
            np.testing.assert_array_equal(leaf, expected)


def test_features_of_what_was_seen_are_without_readings(started: tuple) -> None:
    """Other readings, without a memory, leave them as they are; other pictures do not."""
    network, _, adapted = started
    if network.rnn_hidden:
        pytest.skip("a memory mixes both")
    student, (memory, obs, images, first) = AdaptedStudent(network, (7,), True), inputs(network)

    def seen(obs: jax.Array, image: jax.Array) -> np.ndarray:
        """Returns the features."""
        out = student.apply(adapted, memory, obs, (image,), first)
        return np.asarray(student.seen(out, READINGS))

    plain = seen(obs, images[0])
    assert plain.shape == (2, 2, 8)  # two numbers for each of four feature maps
    np.testing.assert_array_equal(seen(obs + 1, images[0]), plain)
    assert (seen(obs, 255 - images[0]) != plain).any()
