"""A world that ceases to be finite is recorded as it was before, and replayed in two engines."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco import mjx

from mjx_s2r.io.run import Run
from mjx_s2r.learn.nan_guard import NanSnapshot, empty_snapshot, record_first_nan
from mjx_s2r.learn.rollout import reset_envs
from mjx_s2r.params import Param, ParamSpace
from mjx_s2r.sim import nan_replay
from mjx_s2r.sim.env import Env, make
from mjx_s2r.sim.interface import EpisodeParams
from mjx_s2r.sim.nan_replay import (
    NanReplayError,
    load_snapshot,
    record_about,
    replay_snapshot,
    save_snapshots,
    snapshot_files,
)
from mjx_s2r.sim.task import StepResult
from tests.sim.toy import XML, Toy

B, T = 4, 5
STIFF = 1e20  # N/m: no integrator of fixed steps holds a spring like this one
SPACE = ParamSpace(
    (Param("spring", "model.jnt_stiffness", ("rail",), None, "add", 0.0, (0, 0), (0, STIFF)),)
)
SPRING = XML.replace('axis="1 0 0"/>', 'axis="1 0 0" stiffness="1"/>')


@dataclass(frozen=True)
class Springy(Toy):
    """The toy on a spring; its reward is no number in the fifth part of the rail."""

    space: ParamSpace = SPACE

    def reward(self, data: mjx.Data, action: jax.Array) -> StepResult:
        """Says NaN where the action asks for it."""
        return StepResult(jnp.where(action[0] > 0.9, jnp.nan, 0.0), *jnp.zeros(2, bool))


@pytest.fixture(scope="module")
def env() -> Env:
    """The springy environment."""
    return make(Springy(mj_model=mujoco.MjModel.from_xml_string(SPRING)))


def step(env: Env, carry: Any, inputs: Any) -> Any:
    """Takes one step in all worlds; returns the carry and the physics state before it."""
    (state, bad), (action, count) = carry, inputs
    after = jax.vmap(env.step)(state, action)
    return (
        after,
        record_first_nan(bad, state, after, action, count),
    ), state.pipeline_state.physics_state


@pytest.fixture(scope="module")
def rollout(env: Env) -> Any:
    """A compiled rollout: (xi (B, 1), actions [T, B, 1]) -> the record, states before each step."""

    @jax.jit
    def run(xi: jax.Array, actions: jax.Array) -> tuple[NanSnapshot, Any]:
        draws = EpisodeParams(xi, jnp.full((B,), -1, jnp.int32), jnp.zeros((B,), jnp.int32))
        state = reset_envs(env, draws, key=jax.random.key(1))
        start = state, empty_snapshot(state, env.action_size)
        (_, bad), cores = jax.lax.scan(partial(step, env), start, (actions, jnp.arange(T)))
        return bad, cores

    return run


def actions() -> np.ndarray:
    """Returns commands [T, B, 1], another one everywhere."""
    return np.random.default_rng(0).uniform(-0.5, 0.5, (T, B, 1)).astype(np.float32)


def kept(tmp_path: Path, env: Env, bad: NanSnapshot) -> Run:
    """Returns a run that has kept the record of its seventh iteration, of two."""
    run = Run(tmp_path)
    stacked = jax.tree.map(lambda x: np.stack([np.zeros_like(x), np.asarray(x)]), bad)
    assert save_snapshots(run, 7, stacked, env.space.names) == int(bad.found)
    return run


def test_nothing_is_recorded_where_all_is_finite(rollout: Any, env: Env, tmp_path: Path) -> None:
    bad, _ = rollout(jnp.zeros((B, 1)), actions())
    assert not bad.found
    kept(tmp_path, env, bad)
    assert snapshot_files(tmp_path) == []


def test_the_state_before_the_step_is_kept(rollout: Any, env: Env, tmp_path: Path) -> None:
    """World 2 pays NaN at step 3, world 1 at step 4: the first one is kept, the second is not."""
    told = actions()
    told[3, 2], told[4, 1] = 0.95, 0.95
    bad, cores = rollout(jnp.zeros((B, 1)), told)
    assert (bool(bad.found), int(bad.step), int(bad.world)) == (True, 3, 2)
    np.testing.assert_array_equal(bad.env_state.physics_state.qpos, cores.qpos[3, 2])
    np.testing.assert_array_equal(bad.action, told[3, 2])
    kept(tmp_path, env, bad)
    (record,) = snapshot_files(tmp_path)
    assert record.name == "000007"
    about = record_about(record)
    assert (about["iteration"], about["step"], about["world"]) == (7, 3, 2)
    state, action = load_snapshot(env, record)
    np.testing.assert_array_equal(state.pipeline_state.physics_state.qvel, cores.qvel[3, 2])
    assert state.pipeline_state.key.dtype == jax.random.key(0).dtype
    np.testing.assert_array_equal(action, told[3, 2])


def test_a_reward_that_is_no_number_is_the_tasks(rollout: Any, env: Env, tmp_path: Path) -> None:
    """Both engines stay finite, and agree on the speed at the end.

    From rest the push only speeds the block up: that is C's largest speed.
    """
    told = np.zeros((T, B, 1), np.float32)
    told[3, 2] = 0.95
    bad, cores = rollout(jnp.zeros((B, 1)), told)
    kept(tmp_path, env, bad)
    finding = replay_snapshot(env, snapshot_files(tmp_path)[0])
    assert finding.mjx == ("reward",) and finding.c_step == 0
    assert finding.c_speed == pytest.approx(float(cores.qvel[4, 2, 0]), rel=1e-4)
    assert "C MuJoCo stays finite" in str(finding)


def test_an_impossible_draw_is_lost_by_both(rollout: Any, env: Env, tmp_path: Path) -> None:
    xi = jnp.zeros((B, 1)).at[1].set(STIFF)
    bad, _ = rollout(xi, actions())
    assert bool(bad.found) and int(bad.world) == 1
    kept(tmp_path, env, bad)
    finding = replay_snapshot(env, snapshot_files(tmp_path)[0])
    assert finding.mjx and "reward" not in finding.mjx
    assert finding.c_step > 0 and "BADQ" in finding.c_warning
    assert float(record_about(snapshot_files(tmp_path)[0])["xi"]["spring"]) == pytest.approx(STIFF)


def test_a_record_of_another_program_is_refused(rollout: Any, env: Env, tmp_path: Path) -> None:
    told = actions()
    told[0, 0] = 0.95
    bad, _ = rollout(jnp.zeros((B, 1)), told)
    kept(tmp_path, env, bad)
    other = make(Toy())
    with pytest.raises(NanReplayError, match=r"nothing for env_state\.leaves.*replay it with"):
        load_snapshot(other, snapshot_files(tmp_path)[0])
    snapshot_files(tmp_path)[0].with_suffix(".npz").write_bytes(b"half")
    with pytest.raises(NanReplayError, match=r"000007\.npz cannot be read"):
        load_snapshot(env, snapshot_files(tmp_path)[0])


def test_only_so_many_are_kept(
    rollout: Any, env: Env, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = actions()
    told[0, 0] = 0.95
    bad, _ = rollout(jnp.zeros((B, 1)), told)
    many = jax.tree.map(lambda x: np.stack([np.asarray(x)] * 5), bad)
    monkeypatch.setattr(nan_replay, "MOST", 3)
    assert save_snapshots(Run(tmp_path), 5, many, env.space.names) == 3
    assert [r.name for r in snapshot_files(tmp_path)] == ["000001", "000002", "000003"]
    silent = Run(tmp_path / "none", writes=False)
    assert save_snapshots(silent, 5, many, env.space.names) == 0
    assert not silent.path.exists()


def test_the_record_costs_no_second_compilation(rollout: Any) -> None:
    before = rollout._cache_size()
    rollout(jnp.ones((B, 1)), actions())
    assert rollout._cache_size() == before
