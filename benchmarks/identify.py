"""Identification of simulated robots whose numbers are known, and of the same logs by MuJoCo's own.

Robots and logs are those of benchmarks/logged_robots.py; each log is one experiment with another
individual, another motion and other draws of bus and encoders. Gauss-Newton starts from the nominal
values alone (no global search), so that hundreds of experiments are possible.

    coverage                 share of the true values inside the 95 % intervals, all classes of rows
    coverage.CLASS           of one class; .count true values, .width median width of an interval as
                             a share of the row's limits
    coverage_gears.CLASS     the same for reach with play in its gears, which is a row then, and a
                             dead band, which no row has
    coverage_coarse.CLASS    the same for reach fitted at its task's time step, 10 ms; every fourth
                             robot alone
    error_ratio              error on held-out windows, nominal over fitted; median of robots
    error_ratio_of_truth     the same for the true values: what bus and encoders leave to be had
    delay_error_ms           of the best value from the mean latency; median of robots
    residual_ratio_vs_sysid  held-out error over that of `mujoco.sysid`, by one plain replay
    wall_ratio_vs_sysid      time from a log to values and intervals over its; `INSIDE` says more
    fit_ratio_vs_sysid       the same without our intervals
    identify_ratio           the same of all that `train identify` does, with its global search
    derivatives              s for all derivatives of one problem: forward mode, differences in C
"""

import contextlib
import copy
import io
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import mujoco
import numpy as np

from benchmarks.forward_mode import forward_jacobian
from benchmarks.logged_robots import (
    ROBOT_STEP_S,
    TWO_LINK,
    RobotKind,
    fly,
    individual,
    kinds,
    problem_of,
    with_truth,
)
from benchmarks.mujoco_sysid import fit_by_sysid, sysid_lacks
from benchmarks.rows import Row, Settings
from benchmarks.timing import measure
from mjx_s2r.drives import resolve
from mjx_s2r.params import ParamSpace
from mjx_s2r.sim.model.leaves import bind_model, write
from mjx_s2r.transfer.fit import Fit, RowFitConfig, fit_rows, linearize_fit
from mjx_s2r.transfer.identify import identify, prepare_windows
from mjx_s2r.transfer.inference import posterior_of
from mjx_s2r.transfer.posterior import Posterior
from mjx_s2r.transfer.problem import IdentifyProblem
from mjx_s2r.transfer.simulator import ReplaySimulator
from mjx_s2r.transfer.unit_coordinates import law_ends, nominal_z, unit_of, values_at
from mjx_s2r.transfer.windows import Windows, cut_windows

CASE = "identify"
LOG_S = 10.0
NOMINAL = RowFitConfig(candidates=0, generations=0, search_windows=8, starts=1)
CLASSES = {
    "dof_damping": "damping",
    "dof_frictionloss": "friction",
    "dof_armature": "armature",
    "actuator_kp": "gain",
    "body_mass": "mass",
    "qpos0": "zero",
    "gravity_tilt": "tilt",
    "delay_s": "delay",
    "backlash": "play",
}
COMMON = ("dof_damping", "dof_frictionloss", "dof_armature", "actuator_kp", "body_mass")
PLAIN, GEARED, STEPPED = ("reach", "two_link", "pan_tilt"), ("reach_gears",), ("reach_coarse",)
COARSE_EVERY = 4  # robots, of which one is fitted at its task's time step, too
ROUND = 10  # robots of each kind, after which figures are yielded
PEERED = 7  # robots that `mujoco.sysid` fits, too
TURNS = 3  # of both on each
INSIDE = {
    "wall_ratio_vs_sysid": (
        "like with like: from a log in memory to values and 95 % intervals, both from the nominal "
        "values alone without a global search; ours: windows, Gauss-Newton with free start states, "
        "whitened residuals, sandwich, bootstrap, samples, held-out check; theirs: model compiled, "
        "least squares with fixed start state, linearized intervals"
    ),
    "fit_ratio_vs_sysid": (
        "our time until Gauss-Newton has ended, without any intervals, over all of theirs, whose "
        "intervals take next to none of it"
    ),
    "identify_ratio": (
        "all that train identify does before its page (what the log can tell, global search, "
        "three starts, intervals, predicted bands), over all of theirs, which has no such things"
    ),
}
STEP = 1e-3  # of a unit coordinate, for differences


@dataclass(frozen=True, eq=False)
class Experiment:
    """One robot identified from one log.

    Attributes:
        space: the D rows.
        inside: (D,) whether the true value lies in the interval.
        width: (D,) of the interval, a share of the limits.
        errors: (3,) root mean square errors on held-out windows, nominal, fitted and true, rad.
        delay_error_s: of the best value.
    """

    space: ParamSpace
    inside: np.ndarray
    width: np.ndarray
    errors: np.ndarray
    delay_error_s: float


def run(settings: Settings) -> Iterator[Row]:
    """Yields the figures; see the module.

    Robots of all kinds take turns, and the figures of experiments are yielded again after every
    `ROUND` of each kind, so that a run that is stopped leaves figures of as many as were done.
    """
    named = kinds()
    yield from _peer(named["two_link"], min(PEERED, settings.experiments))
    yield from _derivatives(named["two_link"], settings)
    made: dict[str, list[Experiment]] = {name: [] for name in (*PLAIN, *GEARED, *STEPPED)}
    for number in range(settings.experiments):
        coarse = STEPPED if number % COARSE_EVERY == 0 else ()
        for name in (*PLAIN, *GEARED, *coarse):
            made[name].append(experiment(named[name], number))
        if (number + 1) % ROUND == 0 or number + 1 == settings.experiments:
            yield from _all_experiments(made)


def _all_experiments(made: Mapping[str, Sequence[Experiment]]) -> Iterator[Row]:
    """Yields what experiments of each kind come to."""
    for name, mine in made.items():
        yield from _judged(mine, f".{name}")
    plain = [one for name in PLAIN for one in made[name]]
    yield from _judged(plain, "")
    yield from _coverage(plain, "coverage")
    yield from _coverage([one for name in GEARED for one in made[name]], "coverage_gears")
    yield from _coverage([one for name in STEPPED for one in made[name]], "coverage_coarse")


def experiment(kind: RobotKind, number: int, seconds: float = LOG_S) -> Experiment:
    """Returns what came of robot number ``number`` of a kind and a log of ``seconds``."""
    robot = individual(kind, number)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "robot.flight"
        fly(robot, path, seconds, number)
        problem = problem_of(kind, path)
    simulator, made = _fitted(problem)
    windows, found = simulator.windows, _with_intervals(simulator, made)
    low, high = found.interval.T
    ends = [unit_of(kind.space, x) for x in (low, high)]
    points = np.stack([kind.space.nominal, found.best, robot.truth])
    apart = simulator.predict(points, which=windows.held_out) - windows.readings
    errors = np.sqrt(np.nanmean(apart[:, windows.held_out] ** 2, axis=(1, 2, 3)))
    (delay,) = np.flatnonzero([row.field == "actuator.delay_s" for row in kind.space.rows])
    return Experiment(
        space=kind.space,
        inside=(low <= robot.truth) & (robot.truth <= high),
        width=ends[1] - ends[0],
        errors=errors,
        delay_error_s=float(abs(found.best[delay] - robot.truth[delay])),
    )


def _judged(made: Sequence[Experiment], of: str) -> Iterator[Row]:
    """Yields errors and delays of experiments, the names ending with ``of``."""
    nominal, fitted, true = np.array([e.errors for e in made]).T
    delay_ms = 1e3 * np.array([e.delay_error_s for e in made])
    yield Row(CASE, f"experiments{of}", len(made), "1")
    yield Row(CASE, f"error_ratio{of}", float(np.median(nominal / fitted)), "1")
    yield Row(CASE, f"error_ratio_of_truth{of}", float(np.median(nominal / true)), "1")
    yield Row(CASE, f"delay_error_ms{of}", float(np.median(delay_ms)), "ms")
    yield Row(CASE, f"delay_error_ms_p95{of}", float(np.percentile(delay_ms, 95)), "ms")


def _coverage(made: Sequence[Experiment], metric: str) -> Iterator[Row]:
    """Yields the coverage table."""
    kinds_of = [CLASSES[row.array] for e in made for row in e.space.rows]
    inside = np.concatenate([e.inside for e in made])
    width = np.concatenate([e.width for e in made])
    yield Row(CASE, metric, float(inside.mean()), "1")
    for name in dict.fromkeys(CLASSES.values()):
        mine = np.array([kind == name for kind in kinds_of])
        if mine.any():
            yield Row(CASE, f"{metric}.{name}", float(inside[mine].mean()), "1")
            yield Row(CASE, f"{metric}.{name}.count", int(mine.sum()), "1")
            yield Row(CASE, f"{metric}.{name}.width", float(np.median(width[mine])), "1")


def _peer(kind: RobotKind, robots: int) -> Iterator[Row]:
    """Yields the comparison with `mujoco.sysid`, on a bus without latency, which it has not."""
    if why := sysid_lacks():
        print(f"{CASE}: mujoco.sysid is left out: {why}")
        return
    rows = [row.name for row in kind.space.rows if row.array in COMMON]
    common = np.isin(kind.space.names, rows)
    whole = RowFitConfig()
    residuals, taken = [], []
    for number in range(robots):
        drawn = individual(kind, number)
        truth = np.where(common, drawn.truth, kind.space.nominal)
        flaws = replace(drawn.flaws, latency_jitter=0.0, lost_commands=0.0)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "robot.flight"
            fly(with_truth(kind, truth, flaws), path, LOG_S, number)
            problem = problem_of(kind, path, rows)
        for turn in range(TURNS):
            begin = time.perf_counter()
            simulator, made = _fitted(problem)
            fitted = time.perf_counter()
            found = _with_intervals(simulator, made)
            ours = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                theirs = fit_by_sysid(problem, simulator.windows, TWO_LINK).values
            sysid = time.perf_counter()
            taken.append((number, fitted - begin, ours - begin, sysid - ours, np.nan))
            if turn == 0:
                identify(prepare_windows(problem, whole), whole)
                taken[-1] = (*taken[-1][:-1], time.perf_counter() - sysid)
        errors = [replay_error(problem, simulator.windows, v) for v in (found.best, theirs)]
        residuals.append(errors[0] / errors[1])
    robot, *columns = np.array(taken).T
    fit_s, ours_s, sysid_s, whole_s = (
        np.array([np.nanmedian(column[robot == number]) for number in range(robots)])
        for column in columns
    )
    yield Row(CASE, "residual_ratio_vs_sysid", float(np.median(residuals)), "1")
    yield Row(CASE, "residual_ratio_vs_sysid.largest", float(np.max(residuals)), "1")
    yield Row(CASE, "experiments_vs_sysid", robots, "1")
    walls = {"wall_ratio_vs_sysid": ours_s, "fit_ratio_vs_sysid": fit_s, "identify_ratio": whole_s}
    for name, mine in walls.items():
        yield Row(CASE, name, float(np.median(mine / sysid_s)), "1", INSIDE[name])
        yield Row(CASE, f"{name}.least", float(np.min(mine / sysid_s)), "1")
        yield Row(CASE, f"{name}.largest", float(np.max(mine / sysid_s)), "1")
    yield Row(CASE, "fit_s", float(np.median(fit_s)), "s")
    yield Row(CASE, "fit_and_intervals_s", float(np.median(ours_s)), "s")
    yield Row(CASE, "sysid_s", float(np.median(sysid_s)), "s")
    yield Row(CASE, "identify_s", float(np.median(whole_s)), "s")


def _fitted(problem: IdentifyProblem) -> tuple[ReplaySimulator, Fit]:
    """Returns the windows' simulator and what fits them, from the nominal values alone."""
    windows = cut_windows(problem.recordings, NOMINAL.window_s, NOMINAL.held_out)
    simulator = ReplaySimulator(problem, windows)
    return simulator, fit_rows(simulator, NOMINAL)


def _with_intervals(simulator: ReplaySimulator, made: Fit) -> Posterior:
    """Returns values and intervals of a fit, as `identify` makes them."""
    held_out = simulator.windows.held_out
    apart = linearize_fit(simulator, made.z, made.start, held_out, made.noise_std)
    return posterior_of(made.linearization, held_out=apart)


def replay_error(problem: IdentifyProblem, windows: Windows, values: np.ndarray) -> float:
    """Returns the root mean square error of positions on held-out windows, stepped one by one.

    The time step is the robot's own.

    Args:
        problem: one recording; rows of the group "model" alone.
        windows: of the recording.
        values: (D,) of the rows.
    """
    model, (recording,) = copy.copy(problem.mj_model), problem.recordings
    write(model, bind_model(problem.space, model), values)
    model.opt.timestep = ROBOT_STEP_S
    drives, dt = resolve(model, recording.joints), float(model.opt.timestep)
    places = [int(model.joint(j).qposadr[0]) for j in windows.joints]
    speeds = [int(model.joint(j).dofadr[0]) for j in windows.joints]
    apart = []
    for w in np.flatnonzero(windows.held_out):
        data, step = mujoco.MjData(model), 0
        data.qpos[places], data.qvel[speeds] = np.split(windows.start[w], 2)
        for since, reading in zip(windows.time_s[w], windows.readings[w], strict=True):
            while np.isfinite(since) and (step + 0.5) * dt < since:
                now = windows.start_s[w] + step * dt + 1e-9
                newest = int(np.searchsorted(recording.time_s, now, side="right")) - 1
                data.ctrl[drives.actuators] = recording.commands[newest]
                mujoco.mj_step(model, data)
                step += 1
            apart.append(data.qpos[places] - reading[: len(places)])
    return float(np.sqrt(np.nanmean(np.square(apart))))


def _derivatives(kind: RobotKind, settings: Settings) -> Iterator[Row]:
    """Yields what derivatives cost, and how far both ways are apart."""
    rows = [row.name for row in kind.space.rows if row.array in COMMON]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "robot.flight"
        fly(individual(kind, 0), path, LOG_S, 0)
        problem = problem_of(kind, path, rows)
    windows = cut_windows(problem.recordings, NOMINAL.window_s)
    simulator, z = ReplaySimulator(problem, windows), nominal_z(problem.space)
    sides = z + STEP * np.concatenate([np.eye(len(z)), -np.eye(len(z))])

    def differences() -> np.ndarray:
        """Returns (W, K, C, D) derivatives by unit coordinates through C."""
        up, down = np.split(simulator.predict(values_at(problem.space, sides)), 2)
        return np.moveaxis(up - down, 0, -1) / (2 * STEP)

    forward, read = forward_jacobian(problem, windows)
    calls = {"forward": lambda: forward().block_until_ready(), "differences": differences}
    taken = measure(calls, settings.repeat, settings.min_s)
    low, high = law_ends(problem.space)
    slope = (high - low) * np.where(problem.space.logarithmic, problem.space.nominal, 1.0)
    exact, found = differences(), read(forward()) * slope
    seen = np.isfinite(exact).all(-1)
    apart = np.linalg.norm((exact - found)[seen]) / np.linalg.norm(exact[seen])
    yield Row(CASE, "derivatives.forward", taken["forward"].median_s, "s")
    yield Row(CASE, "derivatives.forward.compile", taken["forward"].compile_s, "s")
    yield Row(CASE, "derivatives.differences", taken["differences"].median_s, "s")
    yield Row(CASE, "derivatives.apart", float(apart), "1")
