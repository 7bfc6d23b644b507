"""Which motion to run next: inside the limits, against closed forms, and beside the usual ones."""

import io
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest
from rich.console import Console

from mjx_s2r.contract import ContractError
from mjx_s2r.params import ParamError, ParamSpace, add, scale, set_to
from mjx_s2r.robot.collect.actors import motion_contract
from mjx_s2r.robot.collect.motion_file import plan_from_file, read_motion
from mjx_s2r.robot.collect.plan import MotionConfig
from mjx_s2r.robot.drivers.mujoco_wiring import Rig, describe
from mjx_s2r.robot.safety import Guard, SafetyConfig
from mjx_s2r.transfer.excitation import (
    FLAT,
    Experiment,
    MotionSearchConfig,
    find_motion,
    next_experiment,
    prior_precision,
)
from mjx_s2r.transfer.excitation_motion import FreeMotion
from mjx_s2r.transfer.excitation_setup import experiment_of_model, experiment_of_task
from mjx_s2r.transfer.fit import RowFitConfig, fit_rows
from mjx_s2r.transfer.posterior import Posterior
from mjx_s2r.transfer.problem import IdentifyProblem
from mjx_s2r.transfer.simulator import ReplaySimulator
from mjx_s2r.transfer.unit_coordinates import nominal_z
from mjx_s2r.transfer.windows import cut_windows
from train import excite

ARM = """
<mujoco>
  <compiler angle="radian"/>
  <option timestep="0.005" integrator="implicitfast"{gravity}/>
  <worldbody>
    <geom name="floor" type="plane" size="2 2 .1" pos="0 0 -0.31"/>
    <body name="upper">
      <joint name="shoulder" axis="0 1 0" range="-2 2" damping=".05" frictionloss=".05"
        armature=".01"/>
      <geom name="tip" type="capsule" fromto="0 0 0 .3 0 0" size=".03" mass=".5"/>
    </body>
  </worldbody>
  <actuator>
    <position name="shoulder" joint="shoulder" kp="12" kv="0.8" forcerange="-{force} {force}"
      ctrlrange="-2 2"/>
  </actuator>
</mujoco>
"""
ROWS = (
    scale("armature", "model.dof_armature", ("shoulder",), (0.2, 5), law="log_uniform"),
    scale("damping", "model.dof_damping", ("shoulder",), (0.2, 5), law="log_uniform"),
    scale("kp", "model.actuator_kp", ("shoulder",), (0.5, 2), law="log_uniform"),
    set_to("delay", "actuator.delay_s", (), (0, 0.05), unit="s", nominal=0.01),
)
FAST = SafetyConfig(max_acceleration=(40.0,))


def arm(*, force: float = 6.0, gravity: bool = True) -> mujoco.MjModel:
    """Returns an arm of one joint, 0.31 m above the floor."""
    text = ARM.format(force=force, gravity="" if gravity else ' gravity="0 0 0"')
    return mujoco.MjModel.from_xml_string(text)


def form_of(model: mujoco.MjModel, seconds: float = 6.0, home: float = 0.0) -> FreeMotion:
    """Returns the free motion of the arm at 50 Hz and 3 rad/s."""
    info = describe(model, Rig(("shoulder",), 50.0, max_rate=(3.0,)))
    guard = Guard.build(FAST, motion_contract(info, 50.0), info)
    return FreeMotion(guard, np.array([home]), seconds, 0.2, 2.0)


def experiment(
    model: mujoco.MjModel, rows: tuple[object, ...] = ROWS, **config: object
) -> Experiment:
    """Returns the experiment on rows of the arm, nothing known of them."""
    space = ParamSpace(rows)  # type: ignore[arg-type]
    settings = replace(MotionSearchConfig(seconds=6.0, first_hz=0.2), **config)  # type: ignore[arg-type]
    problem = IdentifyProblem("arm", model, space, ())
    form = form_of(model, settings.seconds)
    every = np.ones(len(space), bool)
    return Experiment(problem, form, settings, nominal_z(space), prior_precision(space), every)


@pytest.mark.parametrize("home", [0.0, -1.2, 1.6])
def test_every_motion_stays_inside_the_limits(home: float) -> None:
    form = form_of(arm(), home=home)
    limits, rng = form.guard.limits, np.random.default_rng(0)
    ways = [form.targets(rng.uniform(size=form.size)) for _ in range(40)]
    ways += [form.targets(rng.integers(0, 2, form.size).astype(float)) for _ in range(20)]
    kinds = ("chirp", "log-chirp", "random", "steps", "gravity-rest", "multi-sine")
    ways += [form.usual(MotionConfig(kind, seconds=6, together=True)) for kind in kinds]
    for way in ways:
        speed = np.diff(way, axis=0) * 50
        assert np.allclose(way[0], home, atol=1e-6) and np.allclose(way[-1], home, atol=0.01)
        assert np.all((way > limits.low) & (way < limits.high))
        assert np.max(np.abs(speed)) <= 0.8 * 3.0 * 1.001
        assert np.max(np.abs(np.diff(speed, axis=0))) * 50 <= 0.8 * 40 * 1.01
    assert np.ptp([np.ptp(way) for way in ways]) > 0.1, "they differ"


def test_what_a_log_tells_is_what_its_readings_count() -> None:
    """A servo without load goes where it is told: an offset of the command moves every reading.

    Its deviation is then that of a mean of N readings, sigma / sqrt(N), in a row 0.4 rad wide; a
    share of each window is spent on the way there, and on the unknown start.
    """
    model = arm(gravity=False)
    model.dof_frictionloss[:] = 1e-6
    offset = add("offset", "actuator.offset", ("shoulder",), (-0.2, 0.2), unit="rad")
    one = experiment(model, (offset,), window_s=3.0)
    still = np.zeros((300, 1))
    [trial] = one.judge([still], ["rest"])
    closed = 2e-3 / np.sqrt(300) / 0.4
    assert closed < trial.deviation[0] < 1.25 * closed
    [half] = one.judge([still], ["rest"], every=2)
    assert half.deviation[0] == pytest.approx(trial.deviation[0], rel=0.1)
    [rough] = replace(one, config=replace(one.config, noise_position=2e-2)).judge([still], [""])
    assert rough.deviation[0] == pytest.approx(10 * trial.deviation[0], rel=0.1)


def test_what_no_robot_should_do_is_seen() -> None:
    down = np.concatenate([np.linspace(0, 1.4, 150), np.linspace(1.4, 0, 150)])[:, None]
    [floor] = experiment(arm()).judge([down], ["down"])
    assert 0.1 < floor.trouble < 0.9, "0.3 sin(q) + 0.03 m are more than 0.31 m beyond 1.2 rad"
    [free] = experiment(arm()).judge([0.5 * down], ["half way"])
    assert free.trouble == 0
    [weak] = experiment(arm(force=0.8)).judge([0.5 * down], ["weak"])
    assert weak.trouble > 0.2, "gravity takes 0.5 kg 9.81 m/s^2 0.15 m = 0.74 N m of 0.8"
    with pytest.raises(ParamError, match="needs all the force"):
        find_motion(experiment(arm(force=0.6), motions=12))


def a_posterior(space: ParamSpace) -> Posterior:
    """Returns a posterior of the arm: kp and delay only seen together, damping unseen."""
    rng, z = np.random.default_rng(0), nominal_z(space)
    values = np.array([1.1, 0.9, 1.05, 0.012])
    samples = values * np.exp(0.02 * rng.standard_normal((4000, 4)))
    samples[:, 3] = 0.012 * samples[:, 2] / 1.05
    return Posterior(
        space=space,
        best=values,
        samples=samples,
        interval=np.quantile(samples, (0.025, 0.975), axis=0).T,
        unseen=("damping",),
        at_bound=(),
        groups=(("kp", "delay"),),
        correlation=np.corrcoef(samples.T) + 0 * z,
        logs=("one",),
        task="arm",
    )


def test_what_is_known_already_counts() -> None:
    """Values spread by 2 % in a row of ln 25 have the deviation 0.02 / ln 25 there."""
    space = ParamSpace(ROWS)
    assert np.array_equal(prior_precision(space), FLAT * np.eye(4))
    some = ParamSpace((ROWS[0], add("offset", "actuator.offset", ("shoulder",), (-1, 1))))
    precision = prior_precision(some, a_posterior(space))
    assert precision[0, 0] == pytest.approx((np.log(25) / 0.02) ** 2, rel=0.1)
    assert precision[1, 1] == FLAT and precision[0, 1] == 0
    both = np.linalg.inv(prior_precision(space, a_posterior(space)))
    apart = both / np.sqrt(np.outer(np.diag(both), np.diag(both)))
    assert apart[2, 3] > 0.99, "rows that are only seen together stay so"


def test_the_search_beats_the_usual_motions() -> None:
    one = experiment(arm(), motions=60, seconds=4.0)
    found = find_motion(one)
    assert found.best.trouble == 0
    assert all(found.best.score >= trial.score - 1e-9 for trial in found.usual)
    assert {trial.name.split()[0] for trial in found.usual} >= {"chirp", "random", "steps"}
    chirp, noise = (next(t for t in found.usual if t.name.startswith(n)) for n in ("chi", "ran"))
    assert found.ratio(chirp) > 1.1 and found.ratio(noise) > 1.1
    before, after = found.interval(found.now), found.interval(found.best.covariance)
    assert np.all(after[:, 0] >= before[:, 0]) and np.all(after[:, 1] <= before[:, 1])
    assert after[3, 1] - after[3, 0] < 0.2 * (before[3, 1] - before[3, 0]), "the delay is seen"


def test_the_criterion_follows_the_rows_that_count() -> None:
    one = experiment(arm(), criterion="trace")
    covariance = np.diag([1.0, 2.0, 3.0, 4.0])
    assert one.score(covariance) == -10
    named = np.array([True, False, True, False])
    assert replace(one, named=named).score(covariance) == -4
    by_determinant = experiment(arm())
    assert by_determinant.score(covariance) == pytest.approx(-np.log(24))


def test_settings_that_cannot_be_are_refused() -> None:
    for wrong, why in (
        ({"seconds": 0.0}, "seconds 0.0 must be above zero"),
        ({"first_hz": 3.0}, "swap them"),
        ({"sines": 0}, "must be at least 1"),
    ):
        with pytest.raises(ParamError, match=why):
            MotionSearchConfig(**wrong)  # type: ignore[arg-type]


def test_an_experiment_comes_from_a_file_or_a_task(tmp_path: Path) -> None:
    path = tmp_path / "arm.xml"
    path.write_text(ARM.format(force=6, gravity=""))
    config = MotionSearchConfig(seconds=6.0)
    alone = experiment_of_model(path, config, max_rate=2.0)
    assert "delay" in alone.problem.space.names and "mass_upper" not in alone.problem.space.names
    some = experiment_of_model(path, config, rows=("damping*", "friction*"), about=("friction*",))
    assert some.problem.space.names == ("damping_shoulder", "friction_shoulder")
    assert some.named.tolist() == [False, True]
    with pytest.raises(ContractError, match=r"joint 'shoulder' is at 3\.000 at home"):
        experiment_of_model(path, config, home=(3.0,))
    with pytest.raises(ContractError, match="above a quarter of the control rate"):
        experiment_of_model(path, config, control_hz=4.0)
    with pytest.raises(ParamError, match="unknown rows"):
        experiment_of_model(path, config, rows=("frcition",))
    (tmp_path / "bare.xml").write_text("<mujoco><worldbody/></mujoco>")
    with pytest.raises(ContractError, match="no actuator at a joint"):
        experiment_of_model(tmp_path / "bare.xml", config)
    from mjx_s2r.envs.registry import make_task

    reach = experiment_of_task(make_task("reach"), config, rows=("damping", "kp", "action_delay"))
    assert reach.form.home == pytest.approx(make_task("reach").contract.action.home)
    with pytest.raises(ContractError, match="commands efforts"):
        experiment_of_task(make_task("cartpole"), config)


def test_the_verb_writes_a_motion_that_the_robot_side_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Console(width=240, record=True, file=io.StringIO())
    monkeypatch.setattr(excite, "console", screen)
    path, out = tmp_path / "arm.xml", tmp_path / "motion.json"
    path.write_text(ARM.format(force=6, gravity=""))
    words = ["--model", str(path), "--rows", "damping*", "delay", "--max-rate", "3"]
    words += ["--search.seconds", "4", "--search.motions", "24", "--out", str(out)]
    excite.main(words)
    said = screen.export_text()
    assert "damping_shoulder" in said and "N m s/rad" in said and "times as wide" in said
    motion = read_motion(out)
    assert motion.joints == ("shoulder",) and len(motion.targets) == 200
    info = describe(arm(), Rig(("shoulder",), 50.0, max_rate=(3.0,)))
    guard = Guard.build(SafetyConfig(), motion_contract(info, 50.0), info)
    assert plan_from_file(motion, guard).joints[0].speed <= 0.8 * 3 * 1.001
    with pytest.raises(ParamError, match="one of the two"):
        excite.main(["--out", str(out)])


def test_what_to_do_next_names_what_is_open() -> None:
    lines = next_experiment(a_posterior(ParamSpace(ROWS)), "--task arm", Path("posterior.json"))
    assert lines[0] == "damping: fast motions at several speeds."
    assert [line.split(":")[0] for line in lines[1:3]] == ["kp", "delay"]
    assert lines[3].endswith("--task arm --posterior posterior.json --about damping kp delay")
    assert "collect plan motion.json" in lines[4]


@pytest.mark.slow
def test_the_promised_intervals_are_obtained() -> None:
    """Fits of simulated logs err as much as was promised, and less than after a chirp."""
    one = experiment(arm(), motions=60)
    found = find_motion(one)
    chirp = next(trial for trial in found.usual if trial.name.startswith("chirp"))
    rng, errors = np.random.default_rng(1), {"best": [], "chirp": []}
    for number in range(10):
        truth = one.z + rng.uniform(-0.05, 0.05, len(one.z))
        for name, trial in (("best", found.best), ("chirp", chirp)):
            logs = one.record([trial.targets], truth, seed=number)
            simulator = ReplaySimulator(
                replace(one.problem, recordings=logs), cut_windows(logs, one.config.window_s)
            )
            config = RowFitConfig(held_out=0.0, candidates=1, generations=0, starts=1)
            errors[name].append(fit_rows(simulator, config).z - truth)
    size = {name: np.sqrt(np.mean(np.square(e), axis=0)) for name, e in errors.items()}
    promised = size["best"] / found.best.deviation
    assert np.all((promised > 0.3) & (promised < 2.0))
    assert np.exp(np.mean(np.log(size["chirp"] / size["best"]))) > 1.1
