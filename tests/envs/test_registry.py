"""What every task in this folder must do, and how a name becomes a task."""

import importlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
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
from mjx_s2r.envs import registry
from mjx_s2r.envs.cartpole import Cartpole
from mjx_s2r.envs.registry import (
    make_env,
    make_task,
    register,
    require_robots,
    robots_of,
    task_names,
    task_spec,
)
from mjx_s2r.learn.ppo.config import PPOConfig
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
    return start, states, jax.vmap(lambda s: env.label(s))(end)


BUILTIN = ("cartpole", "lift", "quadruped", "quadruped_rough", "reach", "reorient")
DEAR = ("reach", "lift", "quadruped", "quadruped_rough", "reorient")  # to compile
TRIED = [pytest.param(n, marks=[pytest.mark.slow] if n in DEAR else []) for n in BUILTIN]


@pytest.fixture(scope="module", params=TRIED)
def trial(request: pytest.FixtureRequest) -> Trial:
    """One task after the other; compiled once."""
    # C compiles in a third of the time; tests/sim/test_env.py steps cartpole in MJX.
    engine = PhysicsConfig("c" if request.param == "cartpole" else "jax")
    env = make(make_task(request.param), engine)
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
        (
            "cartpol",
            r"unknown task 'cartpol'; did you mean 'cartpole'.*\?; a task of your own is named",
        ),
        ("", "''; known: cartpole, .*lift, .*quadruped, quadruped_rough, reach, .*reorient"),
        ("envs.nowhere:Reach", "unknown task module 'envs.nowhere'"),
        ("nowhere.at.all:Reach", "unknown task module 'nowhere.at.all'"),
        (
            "mjx_s2r.envs.reach:Raech",
            r"unknown task in mjx_s2r.envs.reach: 'Raech'; did you mean 'Reach'\?",
        ),
        (
            "mjx_s2r.envs.quadruped_rough:Quadrupd",  # Quadruped is imported there, heights helps
            r"did you mean 'quadruped_rough'\?",
        ),
        ("mjx_s2r.envs.cartpole:tolerance", "cartpole:tolerance makes no task: it must be"),
        ("mjx_s2r.envs.cartpole:CONTRACT", "cartpole:CONTRACT makes no task: it must be"),
        ("mjx_s2r.envs.registry:Task2", "registry has no 'Task2', and no other task"),
        ("pathlib:Path", "'pathlib:Path' makes no task"),
    ],
)
def test_a_name_that_is_no_task_is_refused(name: str, message: str) -> None:
    with pytest.raises(ParamError, match=message):
        make_task(name)


def test_every_module_of_a_task_registers_it_with_its_recipe() -> None:
    assert set(BUILTIN) <= set(task_names())
    for name in BUILTIN:
        spec = task_spec(name)
        assert spec.name == name and spec.iterations >= 100
    assert task_spec("reach").ppo == PPOConfig(reward_scale=0.1)
    assert task_spec("cartpole").distill.num_steps == 16
    assert task_spec("quadruped_rough").ppo == task_spec("quadruped").ppo


def test_names_are_listed_without_importing_a_task() -> None:
    code = (
        "import sys; from mjx_s2r.envs.registry import task_names, task_spec; names = task_names();"
        "loaded = lambda: sorted(n for n in names if 'mjx_s2r.envs.' + n in sys.modules);"
        "print(names, loaded()); task_spec('cartpole'); print(loaded())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == [f"{BUILTIN} []", "['cartpole']"]


def test_a_recipe_is_found_by_the_class_that_it_was_registered_for() -> None:
    assert task_spec("mjx_s2r.envs.cartpole:Cartpole") == task_spec("cartpole")
    assert task_spec("tests.sim.toy:Toy").ppo == PPOConfig()
    peer = task_spec("playground:CartpoleSwingup")
    assert peer.ppo == replace(task_spec("cartpole").ppo, num_steps=30, actor_obs="state")
    assert task_spec("brax:ant").ppo == PPOConfig()


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgets what a test registers."""
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))


USERS = """
from dataclasses import dataclass
from mjx_s2r.envs.registry import register
from mjx_s2r.learn.ppo.config import PPOConfig
from tests.sim.toy import Toy

@dataclass(frozen=True)
class Mine(Toy):
    pass

register("mine", Mine, ppo=PPOConfig(num_envs=8), iterations=7)
"""


@pytest.mark.usefixtures("registered")
def test_a_users_module_registers_its_own_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "users_task.py").write_text(USERS)
    monkeypatch.syspath_prepend(tmp_path)
    spec = task_spec("users_task:Mine")
    assert (spec.name, spec.iterations, spec.ppo.num_envs) == ("mine", 7, 8)
    assert task_spec("mine") is spec and "mine" in task_names()
    importlib.reload(sys.modules["users_task"])  # as a notebook does
    assert task_spec("mine").iterations == 7
    require_robots("mine")
    assert robots_of("mine") is None
    (tmp_path / "users_task_robots.py").write_text("GOAL = 'x'\ndef held_out(index): ...\n")
    importlib.invalidate_caches()
    with pytest.raises(ParamError, match="robots of task 'mine' have no rehearsal"):
        require_robots("mine")


@pytest.mark.usefixtures("registered")
def test_a_name_belongs_to_one_task() -> None:
    register("toy", Toy)
    register("toy", Toy, iterations=3)
    assert task_spec("toy").iterations == 3
    with pytest.raises(
        ParamError, match=r"'toy' of mjx_s2r.envs.cartpole:Cartpole has the name of"
    ):
        register("toy", Cartpole)
    with pytest.raises(ParamError, match=r"another one, mjx_s2r.envs.reach"):
        register("reach", Toy)


def test_a_task_or_an_environment_stands_for_its_name() -> None:
    toy = Toy()
    assert make_task(toy) is toy
    env = make_env(toy)
    assert isinstance(env, Env) and env.task is toy and make_env(env) is env
    with pytest.raises(ParamError, match="Env is no task"):
        make_task(env)  # type: ignore[arg-type]
    with pytest.raises(ParamError, match="int is neither a task nor an environment"):
        make_env(3)  # type: ignore[arg-type]
    with pytest.raises(ParamError, match="type is neither a task nor an environment"):
        make_env(Toy)  # type: ignore[arg-type]


def test_robots_are_found_by_the_tasks_name() -> None:
    suite = robots_of("reach")
    assert suite is not None and suite.GOAL.startswith("The tip")
    assert robots_of("mjx_s2r.envs.reach:Reach") is robots_of("reach")
    require_robots("reach")
    require_robots("cartpole")
    assert robots_of("cartpole") is None
    with pytest.raises(ParamError, match="'brax:ant' is another library's environment"):
        require_robots("brax:ant")


def test_a_task_that_cannot_import_says_its_own_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_task.py").write_text("import not_installed_here\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ParamError, match=r"'broken_task' cannot.*not_installed_here.*_task\.py:1"):
        make_task("broken_task:Task")
    (tmp_path / "raising_task.py").write_text(
        "class Task:\n    def __init__(self):\n        1 / 0\n"
    )
    with pytest.raises(ParamError, match=r"cannot be made: ZeroDivisionError.*raising_task\.py:3"):
        make_task("raising_task:Task")


def test_warp_is_refused_where_it_cannot_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mjx_warp, "WARP_INSTALLED", False)
    with pytest.raises(ModelError, match=r"needs warp-lang; pip install 'mjx_s2r\[warp\]'"):
        make_env("cartpole", PhysicsConfig("warp"))
    with pytest.raises(ModelError, match="'brax:ant' is another library's environment"):
        make_env("brax:ant", PhysicsConfig("warp"))


@pytest.mark.parametrize("name", BUILTIN)
def test_warp_can_vary_every_row_of_a_task(name: str) -> None:
    task = make_task(name)
    bound = bind_model(task.space, task.mj_model)
    if name == "quadruped_rough":  # its worlds have grounds of their own
        with pytest.raises(ModelError, match=r"'hfield_data', of which MuJoCo Warp has one"):
            refuse_shared(task.space, bound)
        return
    refuse_shared(task.space, bound)
