"""What every task in this folder must do, and how a name becomes a task."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import mujoco
import numpy as np
import pytest
from mujoco.mjx import warp as mjx_warp

from mjx_s2r.contract import from_json, to_json
from mjx_s2r.curriculum.uniform import uniform
from mjx_s2r.envs.registry import TASKS, make_env, make_task
from mjx_s2r.params import ParamError
from mjx_s2r.render.cameras import bind_cameras
from mjx_s2r.sim.backends.physics_config import ModelError, PhysicsConfig
from mjx_s2r.sim.env import Env, make
from mjx_s2r.sim.interface import State
from mjx_s2r.sim.model.leaves import bind_model, refuse_shared
from tests.sim.toy import Toy

B, STEPS = 4, 20
NAMED = ("body", "joint", "geom", "site", "camera", "light", "actuator", "tendon", "sensor")


@dataclass(frozen=True)
class Trial:
    """A task, its environment, and 20 random steps in 4 worlds drawn from all of the limits."""

    env: Env
    run: Callable[[jax.Array], Any]
    start: State
    states: State
    labels: np.ndarray


def wander(env: Env, key: jax.Array) -> tuple:
    """Returns worlds at the start, after each random step, and what a camera must find at the end.

    Parameters are drawn from all of the limits.
    """
    space, keys = env.task.space, jax.random.split(key, 3)
    widest = uniform(space.with_ranges({r.name: r.limits for r in space.rows}))
    draws = widest.sample(widest.init(), B, keys[1])
    start = jax.vmap(env.reset)(jax.random.split(keys[0], B), draws)
    actions = jax.random.uniform(keys[2], (STEPS, B, env.action_size), minval=-1.0)

    def one(state: State, action: jax.Array) -> tuple[State, State]:
        state = jax.vmap(env.step)(state, action)
        return state, state.replace(pipeline_state=state.pipeline_state.physics_state)

    end, states = jax.lax.scan(one, start, actions)
    return start, states, jax.vmap(lambda s: env.task.label(env.view(s)))(end)


DEAR = ("lift", "quadruped_rough", "reorient")  # to compile
TRIED = [pytest.param(n, marks=[pytest.mark.slow] if n in DEAR else []) for n in TASKS]


@pytest.fixture(scope="module", params=TRIED)
def trial(request: pytest.FixtureRequest) -> Trial:
    """One task after the other; compiled once."""
    env = make(make_task(request.param))
    run = jax.jit(partial(wander, env))
    return Trial(env, run, *run(jax.random.key(0)))


def finite(tree: Any) -> bool:
    """Returns whether every number of a tree is finite."""
    return all(np.isfinite(x).all() for x in jax.tree.leaves(tree))


def test_random_steps_stay_finite(trial: Trial) -> None:
    states = trial.states
    assert finite((states.obs, states.reward, states.metrics, states.pipeline_state))
    assert not states.metrics["nan"].any()
    assert finite(trial.labels) and trial.labels.shape[0] == B


def test_observations_have_the_size_of_the_contract(trial: Trial) -> None:
    contract = trial.env.task.contract
    assert trial.start.obs["state"].shape == (B, contract.size)
    assert trial.states.obs["state"].shape == (STEPS, B, contract.size)
    hidden = int((~trial.env.task.space.in_group("visual")).sum())
    assert trial.states.obs["privileged"].shape[-1] >= contract.size + hidden


def test_every_observation_moves(trial: Trial) -> None:
    seen = np.asarray(trial.states.obs["state"]).reshape(STEPS * B, -1)
    assert (np.ptp(seen, 0) > 1e-4).all()


def test_readings_are_believed_by_the_contract(trial: Trial) -> None:
    """What simulation reads must lie inside the limits at which the robot's guard stops."""
    flat = np.asarray(trial.states.obs["state"])
    at = 0
    for s in trial.env.task.contract.signals:
        raw = flat[..., at : at + s.size] / s.scale + np.array(s.offset)
        at += s.size
        assert (raw >= s.low).all() and (raw <= s.high).all(), s.name


def test_the_same_seed_gives_the_same_trajectory(trial: Trial) -> None:
    _, again, _ = trial.run(jax.random.key(0))
    for a, b in zip(jax.tree.leaves(trial.states), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
    _, other, _ = trial.run(jax.random.key(1))
    assert not np.array_equal(trial.states.obs["state"], other.obs["state"])


def test_everything_in_the_model_has_a_name(trial: Trial) -> None:
    model = trial.env.task.mj_model
    for kind in NAMED:
        code = getattr(mujoco.mjtObj, f"mjOBJ_{kind.upper()}")
        count = getattr(model, {"camera": "ncam", "joint": "njnt"}.get(kind, f"n{kind}"), None)
        count = {"actuator": model.nu}.get(kind, count)
        names = [mujoco.mj_id2name(model, code, i) for i in range(count)]
        assert all(names) and len(set(names)) == count, kind


def test_the_contract_fits_the_model_and_travels(trial: Trial) -> None:
    task = trial.env.task
    contract, action = task.contract, task.contract.action
    assert contract.task == task.name
    assert from_json(to_json(contract)) == contract
    assert (np.array(action.low) <= action.home).all() and (
        action.high >= np.array(action.home)
    ).all()
    assert len(action.kp) == len(action.kd) == len(action.joints)
    for joint in action.joints:
        assert task.mj_model.actuator(joint).name == joint
    assert 0 < task.hold_s < task.episode_s
    cameras = bind_cameras(task.space, task.mj_model, contract)
    assert len(cameras.scenes) == len(contract.cameras) > 0


def test_the_table_says_where_each_row_comes_in(trial: Trial) -> None:
    space = trial.env.task.space
    assert (space.limits[0] <= space.nominal).all() and (space.nominal <= space.limits[1]).all()
    assert all(row.unit for row in space.rows)


def test_a_module_and_class_is_a_task() -> None:
    assert isinstance(make_task("tests.sim.toy:Toy"), Toy)
    assert make_task("cartpole").name == "cartpole"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cartpol", "unknown task 'cartpol'; did you mean 'cartpole'"),
        ("", "unknown task ''; known: cartpole, lift, quadruped, quadruped_rough, reach, reorient"),
        ("envs.nowhere:Reach", "unknown task module 'envs.nowhere'"),
        ("nowhere.at.all:Reach", "unknown task module 'nowhere.at.all'"),
        (
            "mjx_s2r.envs.reach:Raech",
            "unknown class in mjx_s2r.envs.reach: 'Raech'; did you mean 'Reach'",
        ),
    ],
)
def test_a_name_that_is_no_task_is_refused(name: str, message: str) -> None:
    with pytest.raises(ParamError, match=message):
        make_task(name)


def test_a_task_that_cannot_import_says_its_own_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_task.py").write_text("import not_installed_here\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_installed_here"):
        make_task("broken_task:Task")


def test_warp_is_refused_where_it_cannot_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mjx_warp, "WARP_INSTALLED", False)
    with pytest.raises(ModelError, match=r"needs warp-lang; pip install mjx_s2r\[warp\]"):
        make_env("cartpole", PhysicsConfig("warp"))
    with pytest.raises(ModelError, match="'brax:ant' is another library's environment"):
        make_env("brax:ant", PhysicsConfig("warp"))


@pytest.mark.parametrize("name", TASKS)
def test_warp_can_vary_every_row_of_a_task(name: str) -> None:
    task = make_task(name)
    refuse_shared(task.space, bind_model(task.space, task.mj_model))
