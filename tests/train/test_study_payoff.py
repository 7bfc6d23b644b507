"""The payoff study: what its methods draw from, its robots, its intervals, nothing made twice."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
import tyro

from docs.own_task.pendulum import Pendulum
from mjx_s2r.eval.intervals import mean_interval
from mjx_s2r.eval.reality import check_rows, load_reality
from mjx_s2r.eval.robot_motion import record_motion
from mjx_s2r.params import ParamError, ParamSpace
from mjx_s2r.robot.collect.plan import MotionConfig
from mjx_s2r.sim.env import make
from mjx_s2r.sim.task import Task
from mjx_s2r.transfer.posterior import Posterior
from mjx_s2r.transfer.readers.read import read_recordings
from tests.sim.toy import Toy
from train.payoff_tasks.reach_told import ToldReach
from train.studies import payoff
from train.studies.curricula_run import begin_with
from train.studies.payoff import PayoffConfig, by_seed
from train.studies.payoff_run import Bench, make_bench, make_trainer

MASS, DELAY = (1.6, 1.9), 0.013  # what a posterior says: an interval, and one value
REACH = "train.payoff_tasks.reach_told:ToldReach"


def toy_posterior(path: Path) -> Path:
    """Writes a posterior of the toy's mass and delay."""
    space = Toy().space
    rows = tuple(space.rows[space.index(name)] for name in ("mass", "delay"))
    Posterior(
        space=ParamSpace(rows),
        best=np.array([1.7, DELAY]),
        samples=np.array([[1.7, DELAY], [1.8, DELAY]]),
        interval=np.array([MASS, (DELAY, DELAY)]),
        unseen=(),
        at_bound=(),
        groups=(),
        correlation=np.eye(2),
        logs=("a.flight",),
        task="toy",
    ).save(path)
    return path


@pytest.mark.slow
def test_each_method_begins_where_it_says(tmp_path: Path, key: jax.Array) -> None:
    task = Toy()
    bench = Bench(task, make(task), ())
    methods = ("nominal", "wide", "adr", "identified", "posterior", "posterior_adr")
    path = toy_posterior(tmp_path / "posterior.json")
    trainer = make_trainer(bench, "tests.sim.toy:Toy", methods, path)
    drawn = {}
    for which, method in enumerate(methods):
        state = begin_with(trainer, jnp.int32(which), key)
        drawn[method] = np.asarray(state.env_state.pipeline_state.episode_params.xi)
    for method, at in (("nominal", (1.0, 0.0)), ("identified", (1.7, DELAY)), ("adr", (1.0, 0.0))):
        assert drawn[method][:, :2] == pytest.approx(np.broadcast_to(at, (512, 2)))
    low, high = task.space.limits
    spread = np.ptp(np.log(drawn["wide"][:, 0])) / np.log(high[0] / low[0])
    assert spread > 0.9 and np.ptp(drawn["wide"][:, 2]) > 0.9 * high[2]
    for method in ("posterior", "posterior_adr"):
        mass, delay, noise = drawn[method][:, :3].T
        assert MASS[0] <= mass.min() < mass.max() <= MASS[1] and np.ptp(mass) > 0.25
        assert delay == pytest.approx(DELAY) and not noise.any()


@pytest.mark.parametrize("task", [Pendulum(), ToldReach()])
def test_the_robots_differ_and_stay_inside_the_table(task: Task) -> None:
    reality = load_reality(payoff.ROBOTS / f"{task.name}.toml")
    check_rows(reality, task.space)
    assert reality.count >= 3


def test_a_told_reach_reads_the_cube_and_is_otherwise_reach() -> None:
    task = ToldReach()
    assert task.contract.signals[:-1] == task.arm.contract.signals
    assert task.contract.action == task.arm.contract.action and not task.contract.cameras
    data = mujoco.MjData(task.mj_model)
    data.mocap_pos[0] = (0.2, 0.1, 0.02)
    told = task.signals(data)  # type: ignore[arg-type]
    assert np.asarray(told["cube"]) == pytest.approx((0.2, 0.1, 0.02))


def test_a_motion_goes_through_the_guard_into_a_log(tmp_path: Path) -> None:
    bench = make_bench(REACH, payoff.ROBOTS / "reach_told.toml", 1)
    motion = MotionConfig("multi-sine", amplitude=0.3, seconds=2.0, together=True)
    path = tmp_path / "motion.flight"
    contract = replace(bench.task.contract, cameras=())
    record_motion(bench.robots[0], contract, motion, path)
    recording = read_recordings([path], bench.task.mj_model).recordings[0]
    assert len(recording.time_s) >= 2.0 * bench.task.contract.control_hz
    action = bench.task.contract.action
    assert (recording.commands >= action.low).all() and (recording.commands <= action.high).all()
    assert np.ptp(recording.commands, axis=0).min() > 0.05, "every joint moves"
    read = {c.element for c in recording.channels if c.kind == "joint_pos"}
    assert read == set(action.joints)


def test_the_interval_of_a_mean_is_students() -> None:
    """Of 1, 2, 3: t(0.975, 2) = 4.303, times the deviation 1 over the root of 3."""
    assert mean_interval([1.0, 2.0, 3.0]) == pytest.approx((2 - 2.484, 2 + 2.484), abs=1e-3)
    assert mean_interval([1.0]) == (-np.inf, np.inf)


def test_a_seed_counts_once_however_many_robots_there_are() -> None:
    found = {("a", 0): 0.0, ("b", 0): 1.0, ("a", 1): 1.0, ("b", 1): 1.0}
    assert by_seed(found) == [0.5, 1.0]


def test_the_table_sets_a_gain_beside_the_best_blind_method() -> None:
    """0.9 against 0.5 in each of three pairs: 0.4, and an interval without width."""
    success = {"nominal": 0.3, "wide": 0.5, "identified": 0.9}
    rows = [
        {"method": m, "robot": "a", "seed": s, "success": x, "successes": 10 * x, "episodes": 10}
        for m, x in success.items()
        for s in range(3)
    ]
    table = payoff.summary_table("toy", rows)
    cells = list(zip(*(column.cells for column in table.columns), strict=True))
    assert [row[0] for row in cells] == ["nominal", "wide", "identified"]
    assert [row[-1] for row in cells] == [
        "-0.20 (-0.20 to -0.20)",
        "",
        "+0.40 (+0.40 to +0.40)",
    ]


def test_settings_that_cannot_be_are_named() -> None:
    with pytest.raises(ParamError, match="posterior_adr"):
        PayoffConfig(methods=("nominal", "posterior_ard"))
    with pytest.raises(ParamError, match="count 0"):
        PayoffConfig(count=0)
    with pytest.raises(ParamError, match="nominal"):
        PayoffConfig(methods=("wide",))


def test_the_page_says_what_to_type_to_get_the_same_again(tmp_path: Path) -> None:
    """Parsed again, the command is the settings, but for where they lie."""
    fit = replace(PayoffConfig().fit, candidates=32)
    config = PayoffConfig(
        methods=("nominal", "adr"), episodes=7, motion_s=3.0, amplitude=0.2, fit=fit, run=tmp_path
    )
    words = shlex.split(payoff.study_result(config).command)
    assert words[:5] == ["python", "-m", "train", "study", "payoff"]
    assert "--fit.candidates" in words and "--tasks" not in words
    again = tyro.cli(PayoffConfig, args=words[5:])
    assert replace(again, run=config.run) == config


def test_a_training_is_kept_though_its_judging_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second robot's flight is interrupted: training and first verdict are on disk."""
    name = "docs.own_task.pendulum:Pendulum"
    config = PayoffConfig(
        tasks=(name,), methods=("nominal",), count=2, seeds=1, iterations=1, run=tmp_path
    )
    flown: list[str] = []

    def fly(pilot: object, robot: SimpleNamespace, episodes: int) -> list[object]:
        """Is interrupted at the second flight."""
        flown.append(robot.name)
        if len(flown) == 2:
            raise KeyboardInterrupt
        return []

    env = SimpleNamespace(physics=SimpleNamespace(backend="c"))
    robots = tuple(SimpleNamespace(name=f"pendulum {index}") for index in range(2))
    trainer = SimpleNamespace(config=SimpleNamespace(num_envs=4, num_steps=2))
    monkeypatch.setattr(payoff, "make_bench", lambda *_: Bench(Pendulum(), env, robots))
    monkeypatch.setattr(payoff, "make_trainer", lambda *_: trainer)
    monkeypatch.setattr(payoff, "train_policy", lambda *_: 0.5)
    monkeypatch.setattr(payoff, "open_pilot", lambda *_: None)
    monkeypatch.setattr(payoff, "fly_policy", fly)
    monkeypatch.setattr(
        payoff, "robot_verdict", lambda robot, _: {"robot": robot.name, "success": 1.0}
    )
    with pytest.raises(KeyboardInterrupt):
        payoff._Study(config, name).run()
    monkeypatch.setattr(payoff, "train_policy", None)
    payoff._Study(config, name).run()
    assert flown == ["pendulum 0", "pendulum 1", "pendulum 1"]
    (row,) = (json.loads(file.read_text()) for file in (tmp_path / "rows").iterdir())
    assert [found["robot"] for found in row["robots"]] == ["pendulum 0", "pendulum 1"]
    assert row["env_steps"] == 8 and row["train_success"] == 0.5


@pytest.mark.slow
def test_a_study_is_made_once_and_keeps_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PayoffConfig(
        tasks=("docs.own_task.pendulum:Pendulum",),
        methods=("nominal", "identified"),
        count=1,
        seeds=1,
        iterations=1,
        episodes=2,
        run=tmp_path / "run",
        result=tmp_path / "payoff.json",
    )
    rows = payoff.run(config)
    assert [(r["method"], r["robot"], r["episodes"]) for r in rows] == [
        ("identified", "pendulum 0", 2),
        ("nominal", "pendulum 0", 2),
    ]
    held = json.loads((tmp_path / "payoff.json").read_text())
    assert {r["row"] for r in held["identified"]} >= {"mass", "length", "strength"}
    assert str(tmp_path) not in (tmp_path / "payoff.json").read_text()
    assert held == json.loads((tmp_path / "run" / "payoff.json").read_text())
    monkeypatch.setattr(payoff, "train_policy", None)
    assert payoff.run(replace(config, result=tmp_path / "again.json")) == rows
    more = payoff.run(replace(config, methods=("nominal",), count=2))
    assert {r["robot"] for r in more if r["method"] == "nominal"} == {"pendulum 0", "pendulum 1"}
