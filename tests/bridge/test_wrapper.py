"""Other people's environments as ours: their steps, our ends, nothing lost that a step reads."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_s2r.api.teacher import recipe, train_teacher
from mjx_s2r.bridge.registry import make_peer
from mjx_s2r.bridge.wrapper import NO_ROWS, WrappedEnv, from_brax
from mjx_s2r.curriculum.interface import Episodes
from mjx_s2r.curriculum.uniform import uniform
from mjx_s2r.envs.registry import make_env, make_task
from mjx_s2r.io.run import read_jsonl
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.learn.rollout import reset_envs
from mjx_s2r.params import ParamError, ParamSpace, add, scale, set_to
from mjx_s2r.sim.backends.physics_config import ModelError, PhysicsConfig
from mjx_s2r.sim.interface import EpisodeParams, State, auto_reset
from tests.bridge.fakes import XML, Block, Line
from tests.learn.probes import ppo_trainer

MASS = ParamSpace((scale("mass", "model.body_mass", ("block",), (0.25, 4)),))


def line(**options: object) -> WrappedEnv:
    """Returns the point on a line, 5 steps long."""
    return from_brax(
        Line(),
        episode_length=5,
        success=lambda state: state.pipeline_state.q[0] > 0.5,
        **options,  # type: ignore[arg-type]
    )


def run(env: WrappedEnv, actions: list[float]) -> list[State]:
    """Returns the states of one world after each action, the first one before."""
    states = [env.reset(jax.random.key(3))]
    for action in actions:
        states.append(env.step(states[-1], jnp.array([action])))
    return states


def test_steps_are_those_of_the_environment_itself() -> None:
    env, own = line(), Line()
    states = run(env, [0.25, -0.5, 0.25])
    inner = own.reset(jax.random.key_data(jax.random.key(3)))
    np.testing.assert_array_equal(states[0].obs["state"], inner.obs)
    for state, action in zip(states[1:], [0.25, -0.5, 0.25], strict=True):
        inner = own.step(inner, jnp.array([action]))
        np.testing.assert_array_equal(state.obs["state"], inner.obs)
        np.testing.assert_array_equal(state.obs["privileged"], inner.obs)
        assert state.reward == inner.reward
    assert states[-1].metrics["return"] == pytest.approx(sum(float(s.reward) for s in states))


def test_what_no_step_reads_is_not_carried() -> None:
    env = line()
    held = jax.tree.unflatten(jax.tree.structure(env.shape), env.keep)
    assert held.pipeline_state.q and not held.pipeline_state.qd
    assert not held.pipeline_state.trail  # grows by what info's key draws, and nobody looks
    assert not held.info["rng"] and not held.obs and not held.metrics["place"]
    watched = from_brax(Line(), success=lambda state: state.pipeline_state.trail.sum())
    held = jax.tree.unflatten(jax.tree.structure(watched.shape), watched.keep)
    assert held.pipeline_state.trail and held.info["rng"]  # now somebody does


def test_the_time_limit_truncates_and_their_own_end_terminates() -> None:
    last = run(line(), [0.0] * 5)
    assert [bool(s.info["truncated"]) for s in last] == [False] * 5 + [True]
    assert last[-1].done == 1 and not last[-1].info["terminated"]
    ended = run(line(), [0.0, 0.0, 0.0, 0.3, 0.9])[-1]  # both at once: the end is an end
    assert ended.done == 1 and ended.info["terminated"] and not ended.info["truncated"]


def test_success_is_kept_for_the_episode() -> None:
    states = run(line(), [0.3, 0.3, -0.5])
    assert [float(s.metrics["success"]) for s in states] == [0, 0, 1, 1]
    assert [float(s.metrics["length"]) for s in states] == [0, 1, 2, 3]


def test_actions_are_clipped() -> None:
    start, after = run(line(), [7.0])
    assert after.reward == start.obs["state"][0] + 1


def test_an_action_is_repeated_until_the_end() -> None:
    env = line(action_repeat=2)
    assert env.episode_steps == 3  # 5 steps of its own
    start, once, twice = run(env, [0.25, 0.75])
    x = float(start.obs["state"][0])
    assert once.reward == pytest.approx(2 * x + 0.75)
    assert twice.info["terminated"]
    # the first of the two ended it: the second neither pays nor moves
    assert twice.reward == pytest.approx(x + 1.25)
    assert twice.obs["state"][0] == pytest.approx(x + 1.25)


def test_a_world_that_is_not_finite_is_ended_zeroed_and_counted() -> None:
    env = line()
    state = env.reset(jax.random.key(0))
    kept = (jnp.array([2.9]), *state.pipeline_state.kept[1:])
    assert state.pipeline_state.kept[0].shape == (1,)
    state = replace(state, pipeline_state=replace(state.pipeline_state, kept=kept))
    after = env.step(state, jnp.array([0.5]))
    assert after.metrics["nan"] == 1 and after.info["terminated"] and after.done == 1
    assert after.reward == 0 and after.metrics["return"] == 0
    assert not after.obs["state"].any() and not after.obs["privileged"].any()


def test_a_start_that_is_not_finite_is_counted_and_ended_by_its_first_step() -> None:
    class Blind(Line):
        """Sees no number before it has moved."""

        def reset(self, rng: jax.Array) -> object:
            """Starts blind."""
            state = super().reset(rng)
            return state.replace(obs=state.obs * jnp.nan)  # type: ignore[attr-defined]

    env = from_brax(Blind(), episode_length=5)
    first = env.reset(jax.random.key(0))
    after = env.step(first, jnp.array([0.1]))
    assert first.metrics["nan"] == 1 and not first.obs["state"].any()
    assert after.metrics["nan"] == 1 and after.done == 1 and np.isfinite(after.obs["state"]).all()


def test_a_critic_may_see_more() -> None:
    state = run(from_brax(Line(asymmetric=True)), [0.5])[-1]
    np.testing.assert_array_equal(
        state.obs["privileged"], np.concatenate((state.obs["state"], state.obs["state"] ** 2))
    )


def test_types_do_not_change_from_reset_to_step_to_renewal() -> None:
    """A change would compile every training a second time."""
    env = line()
    keys = jax.random.split(jax.random.key(0), 2)
    first = jax.eval_shape(jax.vmap(env.reset), keys)
    after = jax.eval_shape(jax.vmap(env.step), first, jnp.zeros((2, 1)))
    types = [
        [(x.shape, x.dtype, x.weak_type) for x in jax.tree.leaves(s)]
        for s in (first, after, jax.eval_shape(auto_reset, after, first))
    ]
    assert types[0] == types[1] == types[2]


@pytest.fixture(scope="module")
def block() -> WrappedEnv:
    """The block on a rail with its mass in the table."""
    return from_brax(Block(), MASS, episode_length=20)


def test_each_world_has_the_mass_of_its_draw(block: WrappedEnv) -> None:
    xi = jnp.array([[0.5], [1.0], [3.0]])
    minus = jnp.full((3,), -1, jnp.int32)
    begin = jax.jit(lambda draws: reset_envs(block, draws, key=jax.random.key(0)))
    state = begin(EpisodeParams(xi, minus, minus + 1))
    step = jax.jit(jax.vmap(block.step))
    for _ in range(5):
        state = step(state, jnp.ones((3, 1)))
    speeds = []
    for x in xi[:, 0]:  # C MuJoCo, the mass written into the model
        model = mujoco.MjModel.from_xml_string(XML)
        model.body_mass[1] *= float(x)
        model.body_inertia[1] *= float(x)
        data = mujoco.MjData(model)
        mujoco.mj_setConst(model, data)
        data.ctrl[:] = 1
        for _ in range(5):
            mujoco.mj_step(model, data)
        speeds.append(data.qvel[0])
    np.testing.assert_allclose(state.obs["state"][:, 1], speeds, rtol=1e-5)
    # the bound method sees the world's model too, and the environment keeps its own
    np.testing.assert_allclose(state.reward, 2 * xi[:, 0])
    assert float(block.env.mjx_model.body_mass[1]) == 2.0
    np.testing.assert_allclose(
        state.obs["privileged"][:, 2], MASS.normalize(np, np.asarray(xi))[:, 0], rtol=1e-6
    )


def test_few_leaves_of_mjx_data_are_carried(block: WrappedEnv) -> None:
    held = jax.tree.unflatten(jax.tree.structure(block.shape), block.keep)
    assert held.data.qpos and held.data.qvel and not held.data.xpos and not held.data.ctrl
    assert sum(block.keep) < len(block.keep) / 5


@pytest.mark.slow
def test_our_learner_trains_it(block: WrappedEnv) -> None:
    config = PPOConfig(num_envs=4, num_steps=25, num_minibatches=2, num_epochs=1)
    trainer = ppo_trainer(block, config, MASS.with_ranges({"mass": (0.5, 2)}))
    state, metrics = trainer.iterate(trainer.init(jax.random.key(0)))
    assert metrics.episodes.episodes >= 4 and metrics.episodes.nan_envs == 0
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(metrics))
    masses = state.env_state.pipeline_state.episode_params.xi[:, 0]
    assert len(set(masses.tolist())) == 4 and (masses >= 0.5).all() and (masses <= 2).all()
    np.testing.assert_allclose(  # the model that a renewed world steps with is that of its draw
        state.env_state.pipeline_state.leaves["body_mass"][:, 1], 2 * masses, rtol=1e-6
    )


def test_a_table_without_rows_has_a_schedule_that_counts_success() -> None:
    schedule = uniform(NO_ROWS)
    draws = schedule.sample(schedule.init(), 3, jax.random.key(0))
    assert draws.xi.shape == (3, 0) and draws.kind.tolist() == [-1] * 3
    ended = jnp.array([[True, True, False]])
    score = jnp.array([[1.0, jnp.nan, 0.0]])
    blank = jnp.zeros((1, 3), jnp.int32)
    episodes = Episodes(ended, score, blank - 1, blank, jnp.zeros((1, 3, 0)))
    report = schedule.report(schedule.update(schedule.init(), episodes))
    assert report.plain_score > 0 and report.dropped == 1 and report.entropy == 0
    assert report.low.shape == (0,) and report.edge_score.shape == (2, 0)


def wrapped(state: object) -> object:
    """Returns a state as an EpisodeWrapper leaves it."""
    return state.replace(info={**state.info, "truncation": jnp.zeros(())})  # type: ignore[attr-defined]


class Wrapped(Line):
    """The line with a time limit of its own."""

    def reset(self, rng: jax.Array) -> object:  # type: ignore[override]
        """Adds the wrapper's entry."""
        return wrapped(super().reset(rng))


class Pixels(Line):
    """The line as a picture."""

    def see(self, point: object) -> object:
        """Returns another key."""
        return {"pixels": jnp.zeros((4, 4, 3))}


class Batched(Line):
    """Two lines at once."""

    def see(self, point: object) -> object:
        """Returns a batch."""
        return jnp.zeros((2, 3))


@pytest.mark.parametrize(
    ("env", "words"),
    [
        (Wrapped(), r"wrapped for a training \(its info holds \['truncation'\]"),
        (Pixels(), r"Pixels observes \['pixels'\] and no 'state'"),
        (Batched(), r"Batched has an observation of shape \(2, 3\)"),
        (Line(info_at_step=True), "Line: step returns another structure than reset"),
    ],
)
def test_what_cannot_be_trained_is_named(env: Line, words: str) -> None:
    with pytest.raises(ParamError, match=words):
        from_brax(env)


def test_rows_that_do_not_fit_are_refused() -> None:
    delay = ParamSpace((set_to("delay", "actuator.delay_s", (), (0, 0.1)),))
    with pytest.raises(ParamError, match=r"'delay': Block .* not 'actuator.delay_s'"):
        from_brax(Block(), delay)
    with pytest.raises(ParamError, match="Line has no MJX model to randomize"):
        from_brax(Line(), MASS)
    with pytest.raises(ParamError, match="episode_length 0"):
        from_brax(Line(), episode_length=0)


def test_a_model_changed_after_compiling_is_refused() -> None:
    env = Block()
    env._mjx_model = env._mjx_model.replace(dof_damping=jnp.array([0.3]))
    damping = ParamSpace((add("damping", "model.dof_damping", ("rail",), (0, 1)),))
    with pytest.raises(ParamError, match="Block has changed 'dof_damping'"):
        from_brax(env, damping)


def test_an_unknown_library_is_named() -> None:
    with pytest.raises(ParamError, match=r"unknown library 'brex'; did you mean 'brax'"):
        make_peer("brex:ant")


def randomized() -> WrappedEnv:
    """Returns the block on a rail, any mass of it, for the command line."""
    return from_brax(Block(), MASS, episode_length=20, success=lambda state: state.data.qpos[0] > 0)


NAMED = "tests.bridge.test_wrapper:randomized"


@pytest.mark.slow
def test_a_function_brings_it_to_the_command_line_with_its_rows(tmp_path: Path) -> None:
    config = recipe(NAMED)
    small = PPOConfig(num_envs=16, num_steps=20, num_minibatches=2, num_epochs=1, actor_hidden=(8,))
    config = replace(config, run=tmp_path, iterations=2, log_every=1, checkpoint_every=1, ppo=small)
    trainer, state = train_teacher(config)
    assert trainer.env.space.names == MASS.names
    assert read_jsonl(tmp_path / "bounds.jsonl")[-1]["names"] == ["mass"]
    assert read_jsonl(tmp_path / "metrics.jsonl")[-1]["episodes"] > 0
    assert int(state.iteration) == 2


def test_what_has_no_contract_is_no_task_and_has_no_engine() -> None:
    with pytest.raises(ParamError, match="another library's environment: it can be trained"):
        make_task(NAMED)
    with pytest.raises(ModelError, match=r"leave physics\.backend at jax"):
        make_env(NAMED, PhysicsConfig("warp"))
