"""Distillation on the cartpole with a thumbnail camera: the parts fit, compile once and learn."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.contract import CameraSignal
from mjx_s2r.curriculum.adr import ADRConfig, adr
from mjx_s2r.curriculum.interface import Episodes
from mjx_s2r.curriculum.pictures import picture_rows, schedule_by_pictures
from mjx_s2r.curriculum.uniform import uniform
from mjx_s2r.envs.cartpole import CONTRACT, Cartpole
from mjx_s2r.learn.distill.config import DistillConfig
from mjx_s2r.learn.distill.distillation import DistillMetrics, agreement
from mjx_s2r.learn.networks.actor_critic import RnnState
from mjx_s2r.learn.networks.gaussian import Gaussian, gaussian
from mjx_s2r.learn.rollout import Rollout
from mjx_s2r.learn.trainer import Trainer, TrainState
from mjx_s2r.params import ParamSpace, scale
from mjx_s2r.runtime.compilation import compile_all
from mjx_s2r.runtime.sharding import device_mesh, init_sharded
from mjx_s2r.sim.backends.physics_config import PhysicsConfig
from tests.learn.distill.students import student_of
from tests.learn.heard import compiled

LIGHT = scale("light", "visual.ambient", (), (0.5, 1.5))
CONFIG = DistillConfig(
    num_envs=4,
    num_steps=4,
    iterations=10,
    num_minibatches=2,
    num_epochs=2,
    beta_share=0.2,
    hidden=(16,),
    cnn_channels=4,
    shift_pixels=1,
    agrees_within=0.6,
)


def teacher(obs: dict[str, jax.Array]) -> Gaussian:
    """Pushes against the cart's position and the pole's sine, which are signals 0 and 2."""
    mean = 0.5 - 0.5 * obs["state"][:, :1] - 0.5 * obs["state"][:, 2:3]
    return gaussian(mean, jnp.full((1,), -1.0))


PROGRAMS = ("_looks", "_step", "_update_from_steps", "_init", "_sample", "_resample", "reset_envs")


def answer(
    trainer: Trainer, state: TrainState, obs: jax.Array, images: tuple[jax.Array, ...]
) -> Gaussian:
    """Returns what the student of a state does."""
    memory, first = trainer.algorithm.zero_rnn_state(len(obs)).actor, jnp.zeros(len(obs), bool)
    return trainer.algorithm.policy(state.learner, memory, {"state": obs}, images, first)[1]


def compilations(trainer: Trainer) -> np.ndarray:
    """Returns how often each part of an iteration has been compiled."""
    parts = (Trainer._looks, Trainer._step, trainer._update_compiled)
    return np.array([part._cache_size() for part in parts])


def trainer_in(physics: PhysicsConfig) -> Trainer:
    """Returns a trainer whose looks open where the student agrees with its teacher."""
    contract = replace(CONTRACT, cameras=(CameraSignal("fixed", 16, 16, CONTRACT.control_hz),))
    space = ParamSpace((*Cartpole().space.rows, LIGHT))
    trainer = student_of(teacher, Cartpole(contract=contract, space=space), CONFIG, physics)
    shown, still = picture_rows(space), space.pinned()
    looks = adr(
        still,
        ADRConfig(window=4, widen_above=0.2, narrow_below=0.1, step=0.5, boundary_share=1.0),
        shown,
    )
    schedule, pictures = schedule_by_pictures(still, uniform(space), looks)
    return replace(trainer, curriculum=schedule, looks=pictures)


@pytest.fixture(scope="module")
def run() -> tuple[Trainer, list[TrainState], list[DistillMetrics], np.ndarray, list[str]]:
    """A trainer, its states, its metrics, how often each part was compiled, and what too late."""
    trainer = trainer_in(PhysicsConfig("c"))
    before, key = compilations(trainer), jax.random.key(0)
    compile_all(trainer.programs(key))
    with compiled(*PROGRAMS) as late:
        state = trainer.init(key)
        states, metrics = [jax.tree.map(jnp.copy, state)], []
        for _ in range(CONFIG.iterations):
            state, figures = trainer.iterate(state)
            states.append(jax.tree.map(jnp.copy, state))
            metrics.append(jax.tree.map(float, figures.loss))
    return trainer, states, metrics, compilations(trainer) - before, late


def test_the_student_comes_nearer_to_its_teacher(run: tuple) -> None:
    metrics = run[2]
    assert all(np.isfinite(x) for m in metrics for x in jax.tree.leaves(m))
    first, last = (np.mean([m.mean_error for m in part]) for part in (metrics[:2], metrics[-2:]))
    # Twenty small gradient steps from a random network: over eight draws of it, 0.01 to 0.75 of
    # the error were left, and 0.34 to 0.87 of the label's.
    assert last < 0.85 * first
    labels = [m.label_error_m for m in metrics]
    assert np.mean(labels[-2:]) < 0.95 * labels[0]


def test_the_teacher_leaves_the_wheel(run: tuple) -> None:
    """A fifth of ten iterations: 1, a half, then nothing."""
    np.testing.assert_allclose([m.beta for m in run[2]], [1, 0.5, *[0] * 8])


def test_distillation_compiles_once(run: tuple) -> None:
    np.testing.assert_array_equal(run[3], (1, 1, 1))
    assert run[4] == []  # all had been compiled before


def test_the_same_state_gives_the_same_student(run: tuple) -> None:
    trainer, states, *_ = run
    again, _ = trainer.iterate(jax.tree.map(jnp.copy, states[0]))
    both = (jax.tree.leaves(state.learner.params) for state in (again, states[1]))
    for a, b in zip(*both, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_two_devices_teach_the_same_student() -> None:
    trainer, mesh, key = trainer_in(PhysicsConfig("jax")), device_mesh(2), jax.random.key(0)
    states, metrics = [trainer.init(key)], []
    for _ in range(2):
        state, figures = trainer.iterate(jax.tree.map(jnp.copy, states[-1]))
        states.append(state)
        metrics.append(figures.loss)
    state = init_sharded(mesh, lambda: trainer.init_without_frames(key))
    state = trainer.with_frames(state, key)
    iterate = trainer.sharded_iterate(mesh)
    for before in metrics:
        state, figures = iterate(state)
        np.testing.assert_allclose(figures.loss.label_error_m, before.label_error_m, rtol=1e-3)
    for leaf in jax.tree.leaves(state.env_state):
        assert [s.data.shape[0] for s in leaf.addressable_shards] == [CONFIG.num_envs // 2] * 2
    assert all(leaf.is_fully_replicated for leaf in jax.tree.leaves(state.learner.params))
    # Not the parameters: a spatial softmax does not feel the bias below it, and Adam moves it.
    obs = jax.random.normal(key, (8, CONTRACT.size))
    images = (jax.random.randint(key, (8, 16, 16, 3), 0, 256).astype(jnp.uint8),)
    mine, one, still = (answer(trainer, s, obs, images) for s in (state, states[2], states[0]))
    np.testing.assert_allclose(mine.mean, one.mean, rtol=1e-3, atol=5e-3)
    assert np.abs(one.mean - still.mean).max() > 0.03  # there was something to differ in


def test_looks_widen_where_the_student_agrees_with_its_teacher(run: tuple) -> None:
    """160 pictures, each a test of one of the two bounds; one agreement in four is enough."""
    trainer, states, *_ = run
    ranges = [trainer.reached_ranges(state)["light"] for state in (states[0], states[-1])]
    assert ranges[0] == (1.0, 1.0)
    assert ranges[1][0] < 1.0 < ranges[1][1]
    others = [name for name in trainer.env.space.names if name != "light"]
    before, after = (trainer.reached_ranges(state) for state in (states[0], states[-1]))
    assert [before[n] for n in others] == [after[n] for n in others]


def test_agreement_is_a_distance_of_squashed_actions() -> None:
    student = jnp.array([[0.0, 0.0], [5.0, 0.0], [0.3, 0.0], [0.4, 0.0]])
    other = jnp.array([[0.0, 0.0], [9.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    far = np.sqrt((np.tanh(student) - np.tanh(other)) ** 2 @ [0.5, 0.5])
    np.testing.assert_array_equal(agreement(student, other, 0.25), far < 0.25)
    assert far[2] < 0.25 < far[3], "the test has cases on both sides"


@pytest.mark.parametrize("longest", [0, 1, 3])
def test_episodes_count_that_the_student_acted_alone(longest: int, run: tuple) -> None:
    """The teacher acts in the first two rollouts; episodes take up to ``longest`` more."""
    trainer, states, *_ = run
    ended = jnp.ones((2, 3), bool)
    rest = jnp.zeros((2, 3))
    rollout: Any = SimpleNamespace(episodes=Episodes(ended, rest, rest, rest, rest, longest))
    for number, state in enumerate(states[:7]):
        found = trainer.algorithm.scored_episodes(state.learner, rollout).ended
        begun = [number - rollouts for rollouts in range(longest + 1)]  # in which it may have begun
        assert (np.asarray(found) == (min(begun) >= 2)).all()


def test_the_trainer_says_how_long_episodes_take_before_they_are_scored() -> None:
    """Of 10 steps, in rollouts of 4: three rollouts."""
    heard: list[int] = []

    class Listener:
        """An algorithm that learns nothing."""

        config = SimpleNamespace(num_envs=2, num_steps=4)

        def update(self, state: None, rollout: Any, rnn_state: Any, *, key: None) -> tuple:
            heard.append(rollout.episodes.longest)
            return state, rnn_state, None

        def acting(self, state: None) -> None: ...

        def scored_episodes(self, state: None, rollout: Any) -> Episodes:
            heard.append(rollout.episodes.longest)
            return rollout.episodes

        def picture_scores(self, rollout: Any) -> None: ...

    def moved(state: None, episodes: Episodes) -> None:
        heard.append(episodes.longest)

    schedule: Any = SimpleNamespace(update=moved)
    env: Any = SimpleNamespace(episode_steps=10)
    trainer = Trainer(env, schedule, cast(Any, Listener()))
    rest = jnp.zeros((4, 2))
    batch: Any = Rollout(None, Episodes(rest > 0, rest, rest, rest, rest), None, None)
    rnn: Any = RnnState(rest, rest)
    state = TrainState(None, None, rnn, None, None, jnp.int32(0))
    trainer.update(state, (batch, rnn, cast(Any, None)))
    assert heard == [3, 3, 3]


def test_a_student_reads_bytes(run: tuple) -> None:
    trainer, states, *_ = run
    obs, image = jnp.zeros((3, CONTRACT.size)), jnp.zeros((3, 16, 16, 3), jnp.uint8)
    policy = jax.eval_shape(partial(answer, trainer, states[0]), obs, (image,))
    assert policy.mean.shape == (3, 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_envs": 5, "num_steps": 3}, "5 worlds x 3 steps do not divide into 8 minibatches"),
        ({"beta_share": 1.5}, r"distill.beta_share 1.5 must lie in \[0, 1\]"),
        ({"iterations": 0}, "distill.iterations 0 must be at least 1"),
        ({"learning_rate": -1.0}, "distill.learning_rate -1.0 must be above 0"),
        ({"agrees_within": -1.0}, "distill.agrees_within -1.0 must be above 0"),
        ({"label_weight": float("inf")}, "distill.label_weight inf must be finite"),
        ({"hidden": (0,)}, r"distill.hidden \(0,\) must be at least 1"),
        ({"beta": "threshold", "beta_error": 0.0}, "distill.beta_error 0.0 must be above 0"),
    ],
)
def test_settings_that_cannot_work_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DistillConfig(**settings)
