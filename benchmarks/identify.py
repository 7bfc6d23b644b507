"""Identification of simulated robots whose numbers are known, and of the same logs by MuJoCo's own.

Robots and logs are those of benchmarks/logged_robots.py; each log is one experiment with another
individual, another motion and other draws of bus and encoders. Gauss-Newton starts from the nominal
values alone (no global search), so that hundreds of experiments are possible.

    coverage                 share of the true values inside the 95 % intervals, all classes of rows
    coverage.CLASS           of one class; .count true values, .width median width of an interval as
                             a share of the row's limits
    coverage_gears.CLASS     the same for reach with play in its gears, which is a row then, and a
                             dead band, which no row has
    coverage_coarse.CLASS    the same for reach fitted at its task's time step, 10 ms
    error_ratio              error on held-out windows, nominal over fitted; median of robots
    error_ratio_of_truth     the same for the true values: what bus and encoders leave to be had
    delay_error_ms           of the best value from the mean latency; median of robots
    residual_ratio_vs_sysid  held-out error over that of `mujoco.sysid`, by one plain replay
    wall_ratio_vs_sysid      time from a log to values and intervals over its
    derivatives              s for all derivatives of one problem: forward mode, differences in C
"""

import contextlib
import copy
import io
import tempfile
import time
from collections.abc import Iterator, Sequence
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
from mjx_s2r.transfer.differences import linearize
from mjx_s2r.transfer.fit import RowFitConfig, fit_rows
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
PEERED = 7  # robots that `mujoco.sysid` fits, too
TURNS = 3  # of both on each
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
    """Yields the figures; see the module."""
    named = kinds()
    plain = ("reach", "two_link", "pan_tilt")
    made: list[Experiment] = []
    for name in plain:
        mine = [experiment(named[name], n) for n in range(settings.experiments)]
        yield from _judged(mine, f".{name}")
        made += mine
    yield from _judged(made, "")
    yield from _coverage(made, "coverage")
    few = max(1, settings.experiments // 4)
    gears = [experiment(named["reach_gears"], n) for n in range(few)]
    yield from _coverage(gears, "coverage_gears")
    yield from _judged(gears, ".reach_gears")
    coarse = [experiment(named["reach_coarse"], n) for n in range(few)]
    yield from _coverage(coarse, "coverage_coarse")
    yield from _judged(coarse, ".reach_coarse")
    yield from _peer(named["two_link"], min(PEERED, settings.experiments))
    yield from _derivatives(named["two_link"], settings)


def experiment(kind: RobotKind, number: int, seconds: float = LOG_S) -> Experiment:
    """Returns what came of robot number ``number`` of a kind and a log of ``seconds``."""
    robot = individual(kind, number)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "robot.flight"
        fly(robot, path, seconds, number)
        problem = problem_of(kind, path)
    windows, simulator, found = _fitted(problem)
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
    residuals, walls, seconds = [], [], []
    for number in range(robots):
        drawn = individual(kind, number)
        truth = np.where(common, drawn.truth, kind.space.nominal)
        flaws = replace(drawn.flaws, latency_jitter=0.0, lost_commands=0.0)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "robot.flight"
            fly(with_truth(kind, truth, flaws), path, LOG_S, number)
            problem = problem_of(kind, path, rows)
        taken: dict[str, list[float]] = {"ours": [], "theirs": []}
        for _ in range(TURNS):
            begin = time.perf_counter()
            windows, _, found = _fitted(problem)
            taken["ours"].append(time.perf_counter() - begin)
            begin = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                theirs = fit_by_sysid(problem, windows, TWO_LINK).values
            taken["theirs"].append(time.perf_counter() - begin)
        errors = [replay_error(problem, windows, values) for values in (found.best, theirs)]
        residuals.append(errors[0] / errors[1])
        seconds.append([np.median(taken[who]) for who in ("ours", "theirs")])
        walls.append(seconds[-1][0] / seconds[-1][1])
    yield Row(CASE, "residual_ratio_vs_sysid", float(np.median(residuals)), "1")
    yield Row(CASE, "residual_ratio_vs_sysid.largest", float(np.max(residuals)), "1")
    yield Row(CASE, "wall_ratio_vs_sysid", float(np.median(walls)), "1")
    yield Row(CASE, "wall_ratio_vs_sysid.least", float(np.min(walls)), "1")
    yield Row(CASE, "wall_ratio_vs_sysid.largest", float(np.max(walls)), "1")
    yield Row(CASE, "fit_s", float(np.median(seconds, axis=0)[0]), "s")
    yield Row(CASE, "sysid_s", float(np.median(seconds, axis=0)[1]), "s")


def _fitted(problem: IdentifyProblem) -> tuple[Windows, ReplaySimulator, Posterior]:
    """Returns windows, their simulator, and values with intervals, as `identify` makes them.

    What `identify` does besides is left out: checks beforehand, predicted intervals, the page.
    """
    windows = cut_windows(problem.recordings, NOMINAL.window_s, NOMINAL.held_out)
    simulator = ReplaySimulator(problem, windows)
    made = fit_rows(simulator, NOMINAL)
    held_out = linearize(simulator, made.z, made.start, windows.held_out, made.noise_std)
    return windows, simulator, posterior_of(made.linearization, held_out=held_out)


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
