"""Adaptation: what the loss is, what a stage trains, when it ends, and that resuming repeats it."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.learn.adapt.adaptation import Adaptation, AdaptMetrics, AdaptState
from mjx_s2r.learn.adapt.alignment import AlignmentConfig
from mjx_s2r.learn.adapt.config import AdaptationConfig
from mjx_s2r.learn.trainer import Trainer, TrainState
from mjx_s2r.runtime.compilation import compile_all
from tests.learn.adapt.adapting import adapting, frames
from tests.learn.heard import compiled

pytestmark = pytest.mark.slow

SETTINGS = AdaptationConfig(
    simulated=(0.5, 0.0, 0.0),
    iterations=(3, 25, 4),
    learning_rate=(1e-3, 1e-2, 1e-3),
    trained=("last", "all", "residual"),
    num_envs=4,
    num_steps=2,
    num_minibatches=2,
    real_batch=16,
    replay_weight=0.0,
    check_every=1,
    residual_hidden=(8,),
    adapter_rank=2,
    alignment=AlignmentConfig("dann", weight=0.1, hidden=(8,)),
)
Run = tuple[Trainer, list[AdaptState], list[AdaptMetrics], TrainState, list[str]]


@pytest.fixture(scope="module")
def run() -> Run:
    """A trainer, the states of its learner, its metrics, the last state, what was compiled late."""
    trainer, key = adapting(SETTINGS), jax.random.key(0)
    compile_all(trainer.programs(key))
    with compiled("_update_from_steps", "_step", "_init") as late:
        state = trainer.init(key)
        states, metrics = [jax.tree.map(jnp.copy, state.learner)], []
        for _ in range(SETTINGS.all_iterations):
            state, figures = trainer.iterate(state)
            states.append(jax.tree.map(jnp.copy, state.learner))
            metrics.append(jax.tree.map(float, figures.loss))
    return trainer, states, metrics, state, late


def changed(a: AdaptState, b: AdaptState) -> set[str]:
    """Returns which leaves of the parameters differ, by their path."""
    pairs = zip(*(jax.tree_util.tree_leaves_with_path(x.params) for x in (a, b)), strict=True)
    return {jax.tree_util.keystr(p) for (p, x), (_, y) in pairs if (x != y).any()}


def test_stages_follow_each_other_in_one_program(run: Run) -> None:
    metrics, late = run[2], run[4]
    assert [m.stage for m in metrics] == [0] * 3 + [1] * 25 + [2] * 4
    np.testing.assert_allclose([m.simulated for m in metrics], [0.5] * 3 + [0] * 29)
    assert {m.learning_rate for m in metrics[:3]} == {np.float32(1e-3)}
    assert late == []
    assert int(run[1][-1].stage) == 3


def test_each_stage_trains_its_part(run: Run) -> None:
    states = run[1]
    first = changed(states[0], states[2])
    assert any("'Dense_1'" in x for x in first) and any("alignment" in x for x in first)
    assert not any("ImageEncoder" in x or "residual" in x or "adapter" in x for x in first)
    second = changed(states[3], states[5])
    assert any("ImageEncoder" in x for x in second)
    assert not any("residual" in x or "adapter" in x for x in second)
    third = changed(states[28], states[30])
    assert any("residual" in x for x in third) and not any("student" in x for x in third)


def test_a_stage_begins_with_fresh_moments(run: Run) -> None:
    """Adam corrects its moments by the steps since they were zero, which each stage's own are."""
    states, steps = run[1], SETTINGS.num_minibatches
    counts = [
        [int(x) for x in jax.tree.leaves(s.optimizer) if jnp.issubdtype(x.dtype, jnp.integer)]
        for s in states
    ]
    assert counts[2] == [2 * steps] and counts[3] == [0] and counts[5] == [2 * steps]
    moments = [x for x in jax.tree.leaves(states[3].optimizer) if x.dtype == jnp.float32]
    assert moments and all((x == 0).all() for x in moments)


def test_the_student_learns_what_was_demonstrated(run: Run) -> None:
    """The action is in the picture alone: guessing costs 0.8 squared."""
    trainer, states, metrics, *_ = run
    assert isinstance(trainer.algorithm, Adaptation)
    fresh = frames(np.random.default_rng(77), 1, 64)
    errors = [
        float(trainer.algorithm.action_error(s, s.params, fresh)) for s in (states[0], states[-1])
    ]
    assert errors[0] > 0.5 and errors[1] < 0.5 * errors[0]
    held_out = [m.held_out_error for m in metrics]
    assert float(states[-1].best_error) <= min(held_out) + 1e-6


def test_the_error_is_that_of_squashed_means(run: Run) -> None:
    """By numpy, of the policy that the robot gets, one row after another."""
    trainer, states, *_ = run
    algorithm, state = trainer.algorithm, states[-1]
    assert isinstance(algorithm, Adaptation)
    real = frames(np.random.default_rng(5), 1, 7)
    obs = {"state": jnp.asarray(real.obs[0])}
    images = tuple(jnp.asarray(x[0]) for x in real.images)
    memory = algorithm.zero_rnn_state(7).actor
    mean = np.asarray(algorithm.policy(state, memory, obs, images, jnp.ones(7, bool))[1].mean)
    assert real.actions is not None
    expected = ((np.tanh(mean) - real.actions[0]) ** 2).sum(-1).mean()
    np.testing.assert_allclose(
        algorithm.action_error(state, state.params, real), expected, rtol=1e-4
    )


def test_a_stage_ends_with_the_best_parameters(run: Run) -> None:
    trainer, states, metrics, *_ = run
    assert isinstance(trainer.algorithm, Adaptation)
    end = states[28]  # of the second stage
    assert changed(end, replace(end, params=end.best)) == set()
    judged = np.random.default_rng(9)
    error = trainer.algorithm.action_error(end, end.params, frames(judged, 1, 16))
    np.testing.assert_allclose(error, end.best_error, rtol=1e-4)
    assert float(end.best_error) <= min(m.held_out_error for m in metrics[:28]) + 1e-6


def test_a_resumed_run_is_the_same_bit_by_bit(run: Run) -> None:
    """A state half way, and nothing else, gives the same next states."""
    trainer = run[0]
    state = trainer.init(jax.random.key(0))
    for _ in range(4):
        state, _ = trainer.iterate(state)
    again, _ = trainer.iterate(state)
    pairs = zip(*(jax.tree.leaves(x) for x in (again.learner, run[1][5])), strict=True)
    for a, b in pairs:
        np.testing.assert_array_equal(a, b)


def test_patience_ends_a_stage_early(run: Run) -> None:
    """With a rate that teaches nothing, after two looks without a smaller error."""
    trainer, states, *_ = run
    assert isinstance(trainer.algorithm, Adaptation)
    waiting = replace(trainer.algorithm, settings=replace(SETTINGS, patience=2, check_every=2))
    real = frames(np.random.default_rng(9), 1, 16)
    state = waiting.judged_at_start(states[0], real)
    stages = []
    for _ in range(8):
        state = waiting.advance(state, real)
        stages.append(int(state.stage))
    # Looks at the second update and at the third, its stage's last; then at 2 and 4 of the next.
    assert stages == [0, 0, 1, 1, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"simulated": (0.5, 0.2), "trained": ("all",) * 3}, "adapt.simulated has 2 values for 5"),
        ({"simulated": (1.2,)}, "adapt.simulated .* must lie in"),
        ({"trained": ("hand",)}, "adapt.trained 'hand' must be one of all, head, last"),
        ({"iterations": (0,)}, "adapt.iterations .* at least 1"),
        ({"learning_rate": (0.0,)}, "adapt.learning_rate .* above 0"),
        ({"l2_weight": -1.0}, "adapt.l2_weight -1.0 must not be negative"),
        ({"num_minibatches": 0}, "adapt.num_minibatches 0 must be at least 1"),
        ({"num_steps": 0}, "adapt.num_steps 0 must be at least 1"),
        ({"num_envs": -8}, "adapt.num_envs -8 must be at least 1"),
        ({"residual_hidden": (0,)}, r"adapt.residual_hidden \(0,\) must be at least 1"),
        ({"num_envs": 5, "num_steps": 3}, "5 worlds x 3 steps do not divide into 4 minibatches"),
    ],
)
def test_settings_that_cannot_work_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdaptationConfig(**settings)
