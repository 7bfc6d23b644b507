"""Reset and step of one world: Brax's shape, true ends, the last observation, C's trajectory."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_s2r.contract import ContractError
from mjx_s2r.curriculum.uniform import uniform
from mjx_s2r.envs.cartpole import Cartpole
from mjx_s2r.params import ParamError, ParamSpace, scale, set_to
from mjx_s2r.sim.env import Env, make
from mjx_s2r.sim.interface import EpisodeParams, State, auto_reset, nominal_params
from tests.sim.toy import CONTRACT, SPACE, Toy

B = 4


@dataclass(frozen=True)
class Worlds:
    """An environment and its compiled functions over B worlds."""

    env: Env
    reset: Callable[[jax.Array, EpisodeParams], State]
    step: Callable[[State, jax.Array], State]

    def start(self, seed: int = 0) -> State:
        """Returns B worlds at the start of an episode, with parameters drawn from the table."""
        curriculum = uniform(self.env.task.space)
        draws = curriculum.sample(curriculum.init(), B, jax.random.key(100 + seed))
        return self.reset(jax.random.split(jax.random.key(seed), B), draws)

    def run(self, state: State, steps: int, action: float = 0.0) -> list[State]:
        """Returns the states after each of ``steps`` under one constant action."""
        states = []
        for _ in range(steps):
            state = self.step(state, jnp.full((B, 1), action))
            states.append(state)
        return states


def worlds_of(task: Toy) -> Worlds:
    """Returns the compiled functions of a task."""
    env = make(task)
    return Worlds(env, jax.jit(jax.vmap(env.reset)), jax.jit(jax.vmap(env.step)))


@pytest.fixture(scope="module")
def toy() -> Worlds:
    """The toy task."""
    return worlds_of(Toy())


def placed(state: State, x: tuple[float, ...]) -> State:
    """Returns the worlds with their blocks at ``x`` (B,), at rest."""
    sim = state.pipeline_state
    core = sim.physics_state.replace(qpos=jnp.array(x)[:, None], qvel=jnp.zeros((B, 1)))
    return state.replace(pipeline_state=sim.replace(physics_state=core))


def same(left: object, right: object) -> bool:
    """Returns whether two trees hold the same bits."""
    raw = (
        jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, t)
        for t in (left, right)
    )
    return all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), *raw)))


def _is_key(x: jax.Array) -> bool:
    """Returns whether an array holds random keys."""
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def test_the_state_has_the_fields_of_brax(toy: Worlds) -> None:
    names = {f.name for f in fields(State)}
    assert names == {"pipeline_state", "obs", "reward", "done", "metrics", "info"}
    state = toy.start()
    assert state.reward.shape == state.done.shape == (B,)
    assert state.done.dtype == state.reward.dtype == jnp.float32
    assert not state.done.any() and not state.info["truncated"].any()


def test_step_keeps_every_shape_and_type(toy: Worlds) -> None:
    state = toy.start()
    after = toy.step(state, jnp.zeros((B, 1)))
    shapes = [jax.tree.map(lambda x: (x.shape, x.dtype), s) for s in (state, after)]
    assert shapes[0] == shapes[1]


def test_reset_needs_no_draw(toy: Worlds) -> None:
    shape = jax.eval_shape(lambda k: toy.env.reset(k), jax.random.key(0))
    assert shape.pipeline_state.episode_params.xi.shape == (len(SPACE),)
    np.testing.assert_array_equal(nominal_params(toy.env.space).xi, SPACE.nominal)
    assert nominal_params(toy.env.space).kind == -1


def test_observations_have_the_sizes_of_the_contract(toy: Worlds) -> None:
    """Privileged: contract 3, task 3, two commands on their way, three rows that are no looks."""
    state = toy.start()
    assert state.obs["state"].shape == (B, CONTRACT.size) == (B, 3)
    assert state.obs["privileged"].shape == (B, 3 + 3 + 2 + 3)
    xi = SPACE.normalize(np, np.asarray(state.pipeline_state.episode_params.xi))
    np.testing.assert_allclose(state.obs["privileged"][:, -3:], xi[:, :3], atol=1e-6)


def test_observations_are_the_signals_scaled(toy: Worlds) -> None:
    """Two steps of 0.02 s at 1 N = half of full: the speed is F t / m, seen at half scale."""
    state = placed(toy.start(), (0.0,) * B)
    after = toy.run(state, 2, action=0.5)[-1]
    speed = 1.0 * 0.04 / np.asarray(state.pipeline_state.episode_params.xi[:, 0])
    np.testing.assert_allclose(after.obs["state"][:, 1], 0.5 * speed, rtol=1e-4)
    np.testing.assert_allclose(after.obs["state"][:, 2], 1.0, rtol=1e-6)
    np.testing.assert_allclose(
        after.obs["state"][:, 0], after.pipeline_state.physics_state.qpos[:, 0]
    )


def test_actions_are_cut_to_one(toy: Worlds) -> None:
    state = toy.start()
    assert same(toy.step(state, jnp.full((B, 1), 9.0)), toy.step(state, jnp.ones((B, 1))))


def test_failure_terminates_and_time_truncates(toy: Worlds) -> None:
    states = toy.run(placed(toy.start(), (0.0, -2.0, 0.0, 2.0)), 10)
    np.testing.assert_array_equal(states[0].info["terminated"], (False, True, False, False))
    np.testing.assert_array_equal(states[0].done, (0, 1, 0, 0))
    assert not any(s.info["truncated"].any() for s in states[:9])
    np.testing.assert_array_equal(states[9].info["truncated"], (True, False, True, True))
    np.testing.assert_array_equal(states[9].info["terminated"], (False, True, False, False))
    np.testing.assert_array_equal(states[9].done, np.ones(B))
    np.testing.assert_array_equal(states[9].metrics["length"], np.full(B, 10.0))


def test_success_needs_holding_and_is_paid_once(toy: Worlds) -> None:
    """On the goal for steps 1-2, away for step 3, back for steps 4-8: success at step 6 = 4 + 2."""
    state, paid = toy.start(), []
    for step in range(1, 9):
        state = toy.run(placed(state, ((0.0 if step == 3 else 2.0), 0.0, 2.0, 2.0)), 1, 0.25)[0]
        paid.append(np.asarray(state.reward))
    paid = np.array(paid) - 0.25
    np.testing.assert_array_equal(paid[:, 0], 7.0 * (np.arange(1, 9) == 6))
    np.testing.assert_array_equal(paid[:, 1], 0)
    np.testing.assert_array_equal(paid[:, 2], 7.0 * (np.arange(1, 9) == 3))
    np.testing.assert_array_equal(state.metrics["success"], (1, 0, 1, 1))
    np.testing.assert_allclose(state.metrics["return"], 8 * 0.25 + np.array((7, 0, 7, 7)))
    assert not state.info["terminated"].any()


def test_success_ends_the_episode_where_the_task_says_so() -> None:
    ending = worlds_of(Toy(ends_on_success=True))
    states = ending.run(placed(ending.start(), (0.0, 2.0, 0.0, 2.0)), 3)
    assert not states[1].done.any()
    np.testing.assert_array_equal(states[2].info["terminated"], (False, True, False, True))
    assert not states[2].info["truncated"].any()


def test_a_world_that_is_no_longer_finite_ends_and_is_counted(toy: Worlds) -> None:
    state = placed(toy.start(), (0.0, float("nan"), 0.0, 0.0))
    after = toy.run(state, 1, 0.5)[0]
    np.testing.assert_array_equal(after.metrics["nan"], (0, 1, 0, 0))
    np.testing.assert_array_equal(after.info["terminated"], (False, True, False, False))
    np.testing.assert_allclose(after.reward, (0.5, 0, 0.5, 0.5))
    for tree in (after.obs, after.reward, after.metrics):
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))
    clean = toy.run(placed(toy.start(), (0.0,) * B), 1, 0.5)[0]
    for name, value in after.obs.items():
        others = np.delete(np.asarray(value), 1, 0)
        np.testing.assert_array_equal(others, np.delete(np.asarray(clean.obs[name]), 1, 0))
    healed = toy.run(auto_reset(after, toy.start(seed=1)), 1)[0]
    assert not healed.metrics["nan"].any()


def test_renew_swaps_finished_worlds_and_leaves_the_others(toy: Worlds) -> None:
    after = toy.run(placed(toy.start(), (0.0, -2.0, 0.0, -2.0)), 1, 0.5)[0]
    fresh = toy.start(seed=1)
    new, over = auto_reset(after, fresh), np.array((False, True, False, True))
    for world in range(B):
        source = fresh if over[world] else after
        pick = lambda tree, w=world: jax.tree.map(lambda x: x[w], tree)  # noqa: E731
        assert same(pick((new.pipeline_state, new.obs)), pick((source.pipeline_state, source.obs)))
    for name in ("reward", "done", "metrics", "info"):
        assert same(getattr(new, name), getattr(after, name))
    xi_new, xi_old = (s.pipeline_state.episode_params.xi[:, 0] for s in (new, after))
    np.testing.assert_array_equal(xi_new != xi_old, over)
    mass = new.pipeline_state.leaves["body_mass"][:, 1]
    np.testing.assert_allclose(mass, xi_new, rtol=1e-6)
    assert (np.abs(after.obs["state"][over, 0]) > 1).all()  # the last observation is still there


def test_the_same_key_gives_the_same_trajectory(toy: Worlds) -> None:
    first, second = (toy.run(toy.start(), 3, 0.3)[-1] for _ in range(2))
    assert same(first, second)
    other = toy.run(toy.start(seed=5), 3, 0.3)[-1]
    assert not np.array_equal(first.obs["state"], other.obs["state"])


def test_worlds_of_a_batch_differ(toy: Worlds) -> None:
    state = toy.start()
    assert len(np.unique(state.obs["state"][:, 0])) == B
    assert len(np.unique(state.pipeline_state.episode_params.xi[:, 0])) == B


def test_cartpole_follows_c_mujoco() -> None:
    """100 steps of 10 ms at nominal under a fixed force; float32 to 1e-4 m, rad and 1e-3 /s."""
    env = make(Cartpole())
    actions = np.sin(0.13 * np.arange(100)).astype(np.float32)[:, None]

    def one(state: State, action: jax.Array) -> tuple:
        state = env.step(state, action)
        return state, (
            state.pipeline_state.physics_state.qpos,
            state.pipeline_state.physics_state.qvel,
        )

    start = jax.jit(env.reset)(jax.random.key(3))
    _, (qpos, qvel) = jax.jit(lambda s: jax.lax.scan(one, s, jnp.asarray(actions)))(start)
    model, core = env.task.mj_model, start.pipeline_state.physics_state
    data, expected = mujoco.MjData(model), []
    data.qpos[:], data.qvel[:] = core.qpos, core.qvel
    for action in actions:
        data.ctrl[:] = action
        mujoco.mj_step(model, data)
        expected.append(np.concatenate((data.qpos, data.qvel)))
    theirs = np.array(expected)
    np.testing.assert_allclose(qpos, theirs[:, :2], atol=1e-4)
    np.testing.assert_allclose(qvel, theirs[:, 2:], atol=1e-3)
    assert np.ptp(theirs[:, 1]) > 0.3  # the pole did swing


def test_make_names_what_does_not_fit() -> None:
    with pytest.raises(
        ContractError, match=r"3 physics steps of 0.01 s are not one control step at 50.0 Hz"
    ):
        make(Toy(substeps=3))
    wrong = replace(CONTRACT, action=replace(CONTRACT.action, joints=("rial",)))
    with pytest.raises(ParamError, match=r"unknown actuator .*'rial'; did you mean 'rail'"):
        make(Toy(contract=wrong))
    with pytest.raises(ParamError, match="'blok'; did you mean 'block'"):
        make(Toy(space=ParamSpace((scale("m", "model.body_mass", ("blok",), (0.9, 1.1)),))))
    with pytest.raises(ParamError, match="'sped'; did you mean 'speed'"):
        make(Toy(space=ParamSpace((set_to("n", "sensor.noise", ("sped",), (0, 1)),))))


def test_other_parameters_replace_those_in_the_observation_and_nothing_else(toy: Worlds) -> None:
    env, state = toy.env, jax.tree.map(lambda x: x[0], toy.start())
    xi = jnp.asarray(env.task.space.limits[1])
    obs = env.with_privileged_params(state.obs, xi)
    count = int((~env.task.space.in_group("visual")).sum())
    assert count > 0
    np.testing.assert_array_equal(obs["state"], state.obs["state"])
    own, other = state.obs["privileged"], obs["privileged"]
    np.testing.assert_array_equal(own[:-count], other[:-count])
    np.testing.assert_allclose(other[-count:], 1.0, atol=1e-6)
