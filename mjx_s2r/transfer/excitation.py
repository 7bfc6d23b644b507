"""Which motion to run next: the one whose log would say most about the rows that are still open.

A motion is simulated in C MuJoCo at the best values so far, cut into windows and linearized as an
identification would (`mjx_s2r.transfer.fit.linearize`), start states eliminated. With J the change
of the readings with the rows, R the noise and P the precision that is there already, the rows'
covariance after the motion is (J' R^-1 J + P)^-1, the Cramer-Rao bound of a linear model. The
search makes its determinant small (D-optimal) or its trace (A-optimal), over the rows that are
named; Fedorov, "Theory of Optimal Experiments", 1972, chapter 2; Swevers and others, "Optimal robot
excitation and identification", IEEE Trans. Robotics and Automation 13(5), 1997, for the sines.

It promises what holds where the noise is all that a fit leaves; what a model lacks widens
intervals.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import cma
import mujoco
import numpy as np

from mjx_s2r import drives
from mjx_s2r.params import ParamError, ParamSpace
from mjx_s2r.robot.collect.plan import MotionConfig, MotionKind
from mjx_s2r.transfer.differences import linearize
from mjx_s2r.transfer.excitation_motion import FreeMotion
from mjx_s2r.transfer.information import information_of
from mjx_s2r.transfer.noise import white_noise
from mjx_s2r.transfer.posterior import Posterior
from mjx_s2r.transfer.problem import IdentifyProblem
from mjx_s2r.transfer.recording import Channel, Recording
from mjx_s2r.transfer.simulator import ReplaySimulator
from mjx_s2r.transfer.unit_coordinates import unit_of, values_at
from mjx_s2r.transfer.windows import Windows, cut_windows

Criterion = Literal["determinant", "trace"]
FLAT = (
    12.0  # precision of a value of which only the limits are known: 1 / variance of uniform [0, 1]
)
REST_S = 1.0  # in which a robot comes to rest at home before a motion, s; not counted
TORQUE_SHARE = 0.95  # of an actuator's largest force, beyond which it is taken for saturated
REACH = 1.96  # deviations of a 95 % interval
POPULATION = 12  # motions that are simulated together
THIN = 2  # of so many windows one is looked at while searching
FREE = "optimised"  # name of a motion that was searched
FINALISTS = 4  # of the searched motions, that are looked at whole
SPREAD = 0.15  # of CMA-ES at its begin
USUAL_KINDS: tuple[MotionKind, ...] = ("chirp", "log-chirp", "random", "steps", "gravity-rest")


@dataclass(frozen=True)
class MotionSearchConfig:
    """Settings of a search."""

    seconds: float = 20.0
    """Length of the motion, s."""
    first_hz: float = 0.1
    """Lowest frequency, Hz."""
    last_hz: float = 2.0
    """Highest frequency, Hz."""
    sines: int = 4
    """Sines of each joint."""
    criterion: Criterion = "determinant"
    """What is made small: the determinant of the rows' covariance, or its trace."""
    motions: int = 240
    """Motions that are tried."""
    window_s: float = 0.5
    """Length of the windows that the log will be fitted by, s."""
    noise_position: float = 2e-3
    """Deviation of the noise of a position reading, rad or m."""
    noise_velocity: float = 0.0
    """Deviation of the noise of a velocity reading, rad/s or m/s; 0: velocities are not read."""
    max_acceleration: float = math.inf
    """Largest acceleration of a command, unit/s^2."""
    seed: int = 0
    """Seed of the search."""

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ParamError: a number that no motion or noise can have.
        """
        for name in ("seconds", "first_hz", "noise_position", "window_s", "max_acceleration"):
            if not getattr(self, name) > 0:
                raise ParamError(f"{name} {getattr(self, name)} must be above zero")
        if not self.first_hz <= self.last_hz:
            raise ParamError(f"last_hz {self.last_hz} is below first_hz {self.first_hz}; swap them")
        if self.noise_velocity < 0 or self.sines < 1 or self.motions < 1:
            raise ParamError(
                f"noise_velocity {self.noise_velocity} must not be negative, and sines "
                f"{self.sines} and motions {self.motions} must be at least 1"
            )


@dataclass(frozen=True, eq=False)
class Trial:
    """A motion and what it would tell.

    Attributes:
        name: what it is called.
        targets: (T, J) commands.
        covariance: (D, D) of the rows after it, in unit coordinates.
        score: the higher the better: minus the logarithm of the determinant, or minus the trace.
        trouble: share of its time in which it touches something or an actuator is at its end; a
            motion with any is not proposed.
    """

    name: str
    targets: np.ndarray
    covariance: np.ndarray
    score: float
    trouble: float

    @property
    def deviation(self) -> np.ndarray:
        """(D,) deviation of each row, in unit coordinates."""
        return np.sqrt(np.diag(self.covariance))


@dataclass(frozen=True, eq=False)
class ExcitationResult:
    """The motion to run next.

    Attributes:
        space: the D rows.
        z: (D,) values that it was made for, in unit coordinates.
        now: (D, D) covariance of the rows before it.
        best: the motion.
        usual: the best motion of each usual kind, of the same length and inside the same limits.
        named: (D,) True for the rows that count.
        tried: motions that were simulated.
    """

    space: ParamSpace
    z: np.ndarray
    now: np.ndarray
    best: Trial
    usual: tuple[Trial, ...]
    named: np.ndarray
    tried: int

    def interval(self, covariance: np.ndarray) -> np.ndarray:
        """Returns (D, 2) the 95 % interval of each row about its value, inside its limits."""
        reach = REACH * np.sqrt(np.diag(covariance))
        ends = [values_at(self.space, np.clip(self.z + side * reach, 0, 1)) for side in (-1, 1)]
        return np.stack(ends, axis=1)

    def ratio(self, other: Trial) -> float:
        """Returns how many times as wide the named rows' intervals are after another motion.

        The geometric mean over the rows.
        """
        apart = np.log(other.deviation) - np.log(self.best.deviation)
        return float(np.exp(apart[self.named].mean()))


@dataclass(frozen=True, eq=False)
class Experiment:
    """One robot, and what is open about it: says what the logs of motions would tell.

    Attributes:
        problem: model and D rows; its recordings are not looked at.
        form: joints, limits and home of the motions.
        config: settings.
        z: (D,) where the rows are taken to be, in unit coordinates.
        prior: (D, D) precision of the rows before the motion, in unit coordinates.
        named: (D,) True for the rows that count.
    """

    problem: IdentifyProblem
    form: FreeMotion
    config: MotionSearchConfig
    z: np.ndarray
    prior: np.ndarray
    named: np.ndarray

    @property
    def channels(self) -> tuple[Channel, ...]:
        """(C,) what is read: positions of the moved joints, and velocities if they have a noise."""
        found = drives.resolve(self.problem.mj_model, self.form.guard.contract.action.joints)
        names = [self.problem.mj_model.joint(int(j)).name for j in found.joints]
        units = ["rad" if hinge else "m" for hinge in found.hinge]
        pairs = list(zip(names, units, strict=True))
        positions = tuple(Channel("joint_pos", name, unit=unit) for name, unit in pairs)
        if not self.config.noise_velocity:
            return positions
        return positions + tuple(Channel("joint_vel", n, unit=f"{u}/s") for n, u in pairs)

    @property
    def noise_std(self) -> np.ndarray:
        """(C,) deviation of each channel's noise."""
        of = {"joint_pos": self.config.noise_position, "joint_vel": self.config.noise_velocity}
        return np.array([of[channel.kind] for channel in self.channels])

    def record(
        self, motions: Sequence[np.ndarray], z: np.ndarray, *, seed: int
    ) -> tuple[Recording, ...]:
        """Returns the logs of motions (T, J) by a simulated robot that rested at home before.

        Args:
            motions: commands, all of one length.
            z: (D,) the robot's rows.
            seed: of the noise of its readings.
        """
        return self._read(motions, self._simulate(motions, z), seed)

    def judge(
        self, motions: Sequence[np.ndarray], names: Sequence[str], *, every: int = 1
    ) -> list[Trial]:
        """Returns what motions (T, J) of one length would tell, all simulated together.

        Args:
            motions: commands.
            names: what each is called.
            every: one of so many windows is looked at, and stands for the others.
        """
        states = self._simulate(motions, self.z)
        recordings = self._read(motions, states, self.config.seed)
        windows = cut_windows(recordings, self.config.window_s)
        windows = replace(windows, start_std=self._start_std)
        simulator = ReplaySimulator(replace(self.problem, recordings=recordings), windows)
        which, noise = np.arange(len(windows)) % every == 0, self.noise_std
        local = linearize(simulator, self.z, windows.start, which, noise, central=False)
        told = information_of(local, white_noise(noise))
        out = []
        for m, (name, targets) in enumerate(zip(names, motions, strict=True)):
            mine = told.matrix[told.recording == m]
            share = np.sum(windows.recording == m) / max(len(mine), 1)
            covariance = np.linalg.inv(share * mine.sum(0) + self.prior)
            trouble = self._trouble(targets, states[m])
            out.append(Trial(name, targets, covariance, self.score(covariance), trouble))
        return out

    def score(self, covariance: np.ndarray) -> float:
        """Returns how good a covariance (D, D) of the rows is; the higher the better."""
        part = covariance[np.ix_(self.named, self.named)]
        if self.config.criterion == "trace":
            return -float(np.trace(part))
        return -float(np.linalg.slogdet(part)[1])

    @cached_property
    def _start_std(self) -> np.ndarray:
        """(S,) how well windows' start states are known, of a robot at rest: by noise alone."""
        count = math.ceil(self.config.seconds * self.form.guard.contract.control_hz)
        still = [np.tile(self.form.home, (count, 1))]
        logs = self.record(still, self.z, seed=self.config.seed)
        return cut_windows(logs, self.config.window_s).start_std

    def _trouble(self, targets: np.ndarray, states: np.ndarray) -> float:
        """Returns the share of a motion's steps (T, J) that no robot should make.

        Geoms touch that do not at home, or an actuator or a joint gets almost all that it can. The
        model is put where the simulated robot was, (T, 2 J), under the command of that time.
        """
        model = self.problem.mj_model
        found = drives.resolve(model, self.form.guard.contract.action.joints)
        data, joints = mujoco.MjData(model), len(found.joints)
        bad, at_home = 0, None
        for command, state in zip(targets, states, strict=True):
            data.qpos[found.qpos], data.qvel[found.dof] = state[:joints], state[joints:]
            data.ctrl[found.actuators] = command
            mujoco.mj_forward(model, data)
            near = data.contact.geom[data.contact.dist < 0]
            touching = set(map(tuple, np.sort(near, axis=1).tolist()))
            at_home = touching if at_home is None else at_home
            bad += bool(touching - at_home) or _saturated(model, data, found)
        return bad / len(targets)

    def _read(
        self, motions: Sequence[np.ndarray], states: np.ndarray, seed: int
    ) -> tuple[Recording, ...]:
        """Returns logs whose readings are states (M, T, 2 J) and noise."""
        channels, noise = self.channels, self.noise_std
        clean = states[..., : len(channels)]
        readings = clean + noise * np.random.default_rng(seed).standard_normal(clean.shape)
        return tuple(
            self._recording(f"motion {m}", targets, channels, readings[m])
            for m, targets in enumerate(motions)
        )

    def _simulate(self, motions: Sequence[np.ndarray], z: np.ndarray) -> np.ndarray:
        """Returns (M, T, 2 J) positions and velocities when the commands are given."""
        rest = max(2, round(REST_S * self.form.guard.contract.control_hz))
        hold = np.tile(self.form.home, (rest, 1))
        full = replace(self, config=replace(self.config, noise_velocity=1.0))
        channels, count = full.channels, len(motions)
        blank = np.full((rest + len(motions[0]), len(channels)), np.nan)
        logs = tuple(
            self._recording(f"motion {m}", np.concatenate([hold, targets]), channels, blank)
            for m, targets in enumerate(motions)
        )
        joints = [channel.element for channel in channels if channel.kind == "joint_pos"]
        start = np.concatenate([self.form.home, np.zeros(len(joints))])
        whole = Windows(
            recordings=logs,
            joints=tuple(joints),
            recording=np.arange(count),
            start_s=np.zeros(count),
            time_s=np.tile(logs[0].time_s[1:], (count, 1)),
            readings=np.tile(blank[1:], (count, 1, 1)),
            driven=np.ones(count, bool),
            held_out=np.zeros(count, bool),
            start=np.tile(start, (count, 1)),
            start_std=np.ones(len(start)),
        )
        simulator = ReplaySimulator(replace(self.problem, recordings=logs), whole)
        return simulator.predict(values_at(self.problem.space, z)[None])[0][:, rest - 1 :]

    def _recording(
        self, name: str, targets: np.ndarray, channels: tuple[Channel, ...], readings: np.ndarray
    ) -> Recording:
        """Returns the log of a motion."""
        contract = self.form.guard.contract
        time_s = np.arange(len(targets)) / contract.control_hz
        driven, joints = np.ones(len(targets), bool), contract.action.joints
        return Recording(name, time_s, joints, "position", targets, driven, channels, readings)


def _saturated(model: mujoco.MjModel, data: mujoco.MjData, found: drives.Drives) -> bool:
    """Returns whether one of the actuators, or what its joint lets through, is at its end."""
    for i in range(len(found.names)):
        actuator, joint, dof = int(found.actuators[i]), int(found.joints[i]), int(found.dof[i])
        ends = []
        if model.actuator_forcelimited[actuator]:
            ends.append((data.actuator_force[actuator], model.actuator_forcerange[actuator]))
        if model.jnt_actfrclimited[joint]:
            ends.append((data.qfrc_actuator[dof], model.jnt_actfrcrange[joint]))
        for force, (low, high) in ends:
            if not TORQUE_SHARE * low < force < TORQUE_SHARE * high:
                return True
    return False


def prior_precision(space: ParamSpace, posterior: Posterior | None = None) -> np.ndarray:
    """Returns (D, D) how well the rows are known, in unit coordinates.

    Without a posterior the limits are all that is known. A row of the table that the posterior
    does not have counts as such, too.
    """
    precision = FLAT * np.eye(len(space))
    if posterior is None:
        return precision
    both = [name for name in space.names if name in posterior.space.names]
    mine = [space.index(name) for name in both]
    samples = posterior.samples[:, [posterior.space.index(name) for name in both]]
    part = ParamSpace(tuple(space.rows[i] for i in mine))
    z = np.clip(unit_of(part, samples), 0.0, 1.0)
    spread = np.cov(z.T).reshape(len(mine), len(mine)) + 1e-9 * np.eye(len(mine))
    precision[np.ix_(mine, mine)] = np.linalg.inv(spread)
    return precision


def find_motion(
    experiment: Experiment, report: Callable[[float, float], None] = lambda share, score: None
) -> ExcitationResult:
    """Searches the motion that tells most.

    The usual motions come first, then steps and motions at random, then CMA-ES from the best of
    those (Hansen 2016, arXiv 1604.00772, the library `cma`).

    Args:
        experiment: robot and rows.
        report: called with how much is done, 0 to 1, and the best score.

    Raises:
        ParamError: no motion keeps from touching something or from the actuators' ends.
    """
    config, form = experiment.config, experiment.form
    usual = usual_motions(experiment)
    tried = [trial for trials in usual.values() for trial in trials]
    rng = np.random.default_rng(config.seed)
    points = rng.uniform(size=(max(POPULATION, config.motions // 4), form.size))
    points = np.concatenate([form.seeds(), points])
    first: list[Trial] = []
    for part in np.array_split(points, math.ceil(len(points) / POPULATION)):
        ways = [form.targets(x) for x in part]
        first += experiment.judge(ways, [FREE] * len(part), every=THIN)
    tried += first
    begin = points[int(np.argmax([_rank(trial) for trial in first]))]
    tried += _evolve(experiment, begin, config.motions - len(points), report)
    others = [max(trials, key=_rank) for trials in usual.values()]
    free = sorted((t for t in tried if t.name == FREE), key=_rank)[-FINALISTS:]
    shown = [*free, *others]
    judged = experiment.judge([x.targets for x in shown], [x.name for x in shown])
    best, others = max(judged, key=_rank), judged[len(free) :]
    if best.trouble:
        raise ParamError(
            f"each of {len(tried)} motions touches something or needs all the force of an "
            "actuator; begin from a pose with more room, or allow less speed and acceleration"
        )
    return ExcitationResult(
        space=experiment.problem.space,
        z=experiment.z,
        now=np.linalg.inv(experiment.prior),
        best=best,
        usual=tuple(others),
        named=experiment.named,
        tried=len(tried),
    )


def usual_motions(experiment: Experiment, draws: int = 3) -> dict[str, list[Trial]]:
    """Returns the usual motions by kind, each in several forms, as large as the limits leave.

    Waves end at the highest frequency, at its half and at a quarter of it, as far as that is above
    the lowest one; what is random has several draws.
    """
    config, form = experiment.config, experiment.form
    found: dict[str, list[Trial]] = {}
    for kind in USUAL_KINDS:
        lasts = {max(config.first_hz, config.last_hz * share) for share in (1.0, 0.5, 0.25)}
        seeds = range(draws if kind in ("random", "gravity-rest") else 1)
        asked = [
            MotionConfig(
                kind,
                seconds=config.seconds,
                first_hz=config.first_hz,
                last_hz=last_hz,
                hold_s=min(1.0, config.seconds / 8),
                together=True,
                seed=seed,
            )
            for last_hz in sorted(lasts if kind != "gravity-rest" else {config.last_hz})
            for seed in seeds
        ]
        ways = [form.usual(one) for one in asked]
        names = [
            kind if kind in ("steps", "gravity-rest") else f"{kind} to {one.last_hz:g} Hz"
            for one in asked
        ]
        found[kind] = experiment.judge(ways, names, every=THIN)
    return found


def _rank(trial: Trial) -> float:
    """Returns the order of motions: those without trouble by score, the others behind them."""
    return trial.score if not trial.trouble else -1e9 * (1 + trial.trouble)


def _evolve(
    experiment: Experiment,
    begin: np.ndarray,
    most: int,
    report: Callable[[float, float], None],
) -> list[Trial]:
    """Returns the motions that CMA-ES tried from ``begin`` (size,)."""
    options: dict[str, Any] = {
        "bounds": [0.0, 1.0],
        "popsize": POPULATION,
        "seed": experiment.config.seed + 1,
        "verbose": -9,
    }
    engine = cma.CMAEvolutionStrategy(np.clip(begin, 0.02, 0.98), SPREAD, options)
    found: list[Trial] = []
    while len(found) + POPULATION <= most and not engine.stop():
        asked = engine.ask()
        motions = [experiment.form.targets(np.asarray(x)) for x in asked]
        trials = experiment.judge(motions, [FREE] * len(motions), every=THIN)
        engine.tell(asked, [-_rank(trial) for trial in trials])
        found += trials
        report(len(found) / max(most, 1), max(trial.score for trial in found))
    return found


TELLS = {
    "dof_frictionloss": "slow motions that turn round often",
    "dof_damping": "fast motions at several speeds",
    "dof_armature": "fast changes of speed",
    "body_mass": "rests in many poses, and the same motion with a known weight",
    "body_inertia": "fast changes of speed in several poses",
    "body_ipos": "rests in many poses",
    "actuator_kp": "rests under load in several poses",
    "actuator_kd": "steps, and fast changes of speed",
    "actuator_force_limit": "steps that are large enough to need all the force",
    "actuator_strength": "motions under a known load",
    "actuator_time_constant": "steps, and the highest frequencies",
    "delay_s": "steps, and the highest frequencies",
    "backlash": "slow motions that turn round often, under little load",
    "offset": "rests in many poses",
    "qpos0": "rests in many poses",
}
"""What motion tells of a row, by the array that it acts on."""


def next_experiment(posterior: Posterior, source: str, path: Path) -> list[str]:
    """Returns what to do about the rows that are open, a sentence or a command each.

    Args:
        posterior: what the logs so far told.
        source: what names the robot on the command line, e.g. "--task reach".
        path: file of the posterior.
    """
    said = []
    together = tuple(dict.fromkeys(name for group in posterior.groups for name in group))
    wanted = tuple(dict.fromkeys((*posterior.unseen, *together)))
    for name in wanted:
        array = posterior.space.rows[posterior.space.index(name)].array
        if array in TELLS:
            said.append(f"{name}: {TELLS[array]}.")
    about = f" --about {' '.join(wanted)}" if wanted else ""
    said.append(f"python -m train excite {source} --posterior {path}{about}")
    said.append("mjx-s2r-robot collect plan motion.json --driver DRIVER")
    return said
