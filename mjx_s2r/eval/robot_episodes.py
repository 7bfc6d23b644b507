"""Policy evaluation on simulated robots: one episode at a time, as in service.

Every episode runs through the same controller, guard and ONNX file as on a robot; there is no
second path. What is read, and whether the goal holds, is told by the robot's judge from its true
state, at the rate of control: the goal must hold for the task's ``hold_s``. For thousands of
episodes at once see `mjx_s2r.learn.evaluation`.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol, overload

import mujoco
import numpy as np

from mjx_s2r.contract import ActionSpec, PolicyContract
from mjx_s2r.drives import resolve
from mjx_s2r.robot.camera_warp import CameraCalibration
from mjx_s2r.robot.clock import Clock, VirtualClock
from mjx_s2r.robot.controller import ControllerConfig, FlightSummary, run
from mjx_s2r.robot.driver import Reading, TaskRules
from mjx_s2r.robot.drivers.imperfections import Imperfections
from mjx_s2r.robot.drivers.mujoco_wiring import Camera, Senses, placed_bodies, rig_for
from mjx_s2r.robot.drivers.sim_robot import SimRobot
from mjx_s2r.robot.log import FlightLog
from mjx_s2r.robot.log.wear import JointWear, joint_wear
from mjx_s2r.robot.log.writer import remove_log
from mjx_s2r.robot.policy import Policy
from mjx_s2r.robot.verdict import SUCCESS, Referee
from mjx_s2r.sim.backends.c_fields import burst

UNSTABLE = "physics unstable"


@dataclass(frozen=True)
class GoalState:
    """What a task says of the robot now.

    Attributes:
        on_goal: the goal holds.
        failed: all is lost.
        reward: what the step paid.
        distance: to the goal, m; None where the task measures none.
    """

    on_goal: bool = False
    failed: bool = False
    reward: float = 0.0
    distance: float | None = None


class EpisodeJudge(Senses, Protocol):
    """What knows a task on one robot. It also reads the task's signals, see `Senses`.

    Attributes:
        courses: whether `course` changes a command.
        loads: whether `load` does anything.
    """

    courses: bool
    loads: bool

    @property
    def state(self) -> GoalState:
        """What the task says of the robot at the last reading."""
        ...

    def begin(self, seed: int) -> Callable[[mujoco.MjModel, mujoco.MjData], None]:
        """Starts an episode; returns the function that puts the robot where it begins."""
        ...

    def note(self, action: np.ndarray) -> None:
        """Remembers the policy's action (J,), a share of the contract's scale."""
        ...

    def course(self, command: np.ndarray) -> np.ndarray:
        """Returns (n, J) what becomes of a command (J,), see `mujoco_wiring.Course`."""
        ...

    def load(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Sets what acts from outside, see `mujoco_wiring.Load`."""
        ...


@dataclass(frozen=True)
class JudgedRobot:
    """A simulated robot that policies are judged on.

    Attributes:
        name: what it is called in the report.
        model: its C MuJoCo model, held-out numbers already in it.
        sheet: the model that its data sheet is written from, without those numbers.
        imperfections: its flaws.
        judge: where its episodes begin, what it reads, and when the goal holds.
        camera: what takes its pictures; None for MuJoCo's renderer, or that of the rules.
    """

    name: str
    model: mujoco.MjModel
    sheet: mujoco.MjModel
    imperfections: Imperfections
    judge: EpisodeJudge
    camera: Camera | None = None


class LazyRobots(Sequence[JudgedRobot]):
    """Robots of which each is built when it is asked for; only the last one is kept."""

    def __init__(self, build: Callable[[int], JudgedRobot], count: int) -> None:
        """Takes what builds robot number 0 to ``count`` - 1."""
        self._build, self._count = lru_cache(maxsize=1)(build), count

    def __len__(self) -> int:
        """Returns how many there are."""
        return self._count

    @overload
    def __getitem__(self, index: int) -> JudgedRobot: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[JudgedRobot]: ...

    def __getitem__(self, index: int | slice) -> JudgedRobot | Sequence[JudgedRobot]:
        """Returns a robot, or several."""
        chosen = range(self._count)[index]
        if isinstance(chosen, range):
            return LazyRobots(lambda place: self._build(chosen[place]), len(chosen))
        return self._build(chosen)


@dataclass(frozen=True)
class RobotEpisode:
    """One episode on a robot.

    Attributes:
        robot: its name.
        success: the goal was held long enough.
        steps: commands sent.
        episode_return: sum of the task's rewards, as in training, until the episode ended.
        reason: why it ended: "success", "time over", "task failed", "physics unstable" or
            "stopped by the guard: ..." with what it saw.
        events: interventions of the guard by code.
        overruns: missed deadlines.
        act_s: (steps,) time that the policy took, s.
        wear: of each commanded joint, by what was sent and where it truly was.
        frames: (F, H, W, 3) uint8 of the first colour camera, where they were asked for.
        bodies: mocap or free body -> where it was at the start, m and quaternion (7,).
    """

    robot: str
    success: bool
    steps: int
    episode_return: float
    reason: str
    events: Mapping[str, int]
    overruns: int
    act_s: np.ndarray
    wear: tuple[JointWear, ...] = ()
    frames: np.ndarray | None = None
    bodies: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class EvalConfig:
    """Rules of an episode.

    Attributes:
        hold_s: how long the goal must hold, s.
        success_reward: what a success pays beside the task's reward.
        films: of how many episodes per robot the frames are kept; none where there is no camera.
        logs: folder for flight logs, one a robot's first episode; None writes none.
        camera: another renderer than MuJoCo's, where there is no OpenGL.
        controller: settings of controller and guard; its ``duration_s`` is the longest episode.
    """

    hold_s: float
    success_reward: float = 0.0
    films: int = 0
    logs: Path | None = None
    camera: Camera | None = None
    controller: ControllerConfig = field(default_factory=ControllerConfig)


class _GoalMonitor:
    """Ends an episode when the goal has been held, when all is lost or when the time is over."""

    def __init__(
        self,
        judge: EpisodeJudge,
        rig: tuple[SimRobot, ActionSpec],
        referee: Referee,
        film: str | None,
    ) -> None:
        """Takes who knows the task, who judges by its rules, and the camera to keep."""
        stand_in, action = rig
        self._judge, self._stand_in, self._film = judge, stand_in, film
        self._referee = referee
        self.frames: list[np.ndarray] = []
        self.commands: list[np.ndarray] = []
        self.places: list[np.ndarray] = []
        self._action = action
        self._drives = resolve(stand_in.model, action.joints)
        self.reason, self.earned = "", 0.0

    def __call__(self, reading: Reading) -> bool:
        """Returns whether the episode is over."""
        state = self._judge.state
        self.earned += state.reward
        self.commands.append(self._stand_in.commanded)
        self.places.append(self._stand_in.data.qpos[self._drives.qpos].copy())
        if self._film is not None:
            self.frames.append(np.array(reading.images[self._film]))
        if burst(self._stand_in.data):
            self.reason = UNSTABLE
        else:
            self.reason = self._referee.judge(
                reading.time_s, on_goal=state.on_goal, failed=state.failed
            )
        return bool(self.reason)

    def wear(self, rate_hz: float) -> tuple[JointWear, ...]:
        """Returns what wore each commanded joint."""
        model, drives, action = self._stand_in.model, self._drives, self._action
        limits = np.where(
            model.jnt_limited[drives.joints, None] != 0,
            model.jnt_range[drives.joints],
            (-np.inf, np.inf),
        )
        ends = np.column_stack((action.low, action.high))
        commands, places = np.array(self.commands), np.array(self.places)
        return joint_wear(commands, places, limits, rate_hz, ends)


class _TimedPolicy:
    """An actor that keeps the time each call took, and tells the judge what was done."""

    def __init__(self, policy: Policy, judge: EpisodeJudge) -> None:
        """Wraps a policy."""
        self._policy, self.contract, self._judge = policy, policy.contract, judge
        self.seconds: list[float] = []

    def reset(self) -> None:
        """Has a policy that remembers forget what was."""
        reset = getattr(self._policy, "reset", None)
        if reset is not None:
            reset()

    def act(self, obs: np.ndarray, images: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the policy's action and notes the time."""
        before = time.perf_counter()
        action = self._policy.act(obs, images)
        self.seconds.append(time.perf_counter() - before)
        self._judge.note(action / np.asarray(self.contract.action.scale))
        return action


def run_episodes(
    policy: Policy, robots: Iterable[JudgedRobot], episodes: int, rules: EvalConfig
) -> Iterator[RobotEpisode]:
    """Runs ``episodes`` on each robot, one after another, and yields each as it ends.

    Starts are drawn from the robot's own seed, so that two policies meet the same ones.

    Args:
        policy: what drives them.
        robots: on which.
        episodes: on each.
        rules: of an episode.
    """
    for robot in robots:
        yield from episodes_on(policy, robot, range(episodes), rules)


def episodes_on(
    policy: Policy,
    robot: JudgedRobot,
    numbers: Iterable[int],
    rules: EvalConfig,
    calibrate: Callable[[JudgedRobot], tuple[CameraCalibration, ...]] | None = None,
) -> Iterator[RobotEpisode]:
    """Runs the episodes of some ``numbers`` on one robot, and yields each as it ends.

    Args:
        policy: what drives it.
        robot: on which.
        numbers: of the episodes; their starts follow from the robot's seed and these.
        rules: of an episode.
        calibrate: asked for the robot's cameras before its episodes.
    """
    if calibrate is not None:
        control = replace(rules.controller, calibrations=calibrate(robot))
        rules = replace(rules, controller=control)
    clock = VirtualClock()
    stand_in = stand_in_driver(robot, policy.contract, clock, rules.camera)
    stand_in.connect()
    try:
        for number in numbers:
            yield _episode(policy, robot, (stand_in, clock), number, rules)
    finally:
        stand_in.close()


def stand_in_driver(
    robot: JudgedRobot, contract: PolicyContract, clock: Clock, camera: Camera | None = None
) -> SimRobot:
    """Returns a robot as a driver, not connected, that reads and takes what a contract says.

    Args:
        robot: what it is made of.
        contract: of what will drive it.
        clock: the time that its physics follows.
        camera: another renderer than MuJoCo's.

    Raises:
        ParamError, ContractError: as `SimRobot`.
    """
    judge = robot.judge
    rig = replace(
        rig_for(contract, robot.camera or camera),
        senses=judge,
        course=judge.course if judge.courses else None,
        load=judge.load if judge.loads else None,
    )
    return SimRobot(robot.model, rig, clock, robot.imperfections, robot.sheet)


def _episode(
    policy: Policy,
    robot: JudgedRobot,
    rig: tuple[SimRobot, VirtualClock],
    index: int,
    rules: EvalConfig,
) -> RobotEpisode:
    """Runs one episode."""
    stand_in, clock = rig
    seed = int(1000 * robot.imperfections.seed + index)
    stand_in.reset(seed=seed, place=robot.judge.begin(seed))
    bodies = placed_bodies(stand_in.model, stand_in.data)
    contract = policy.contract
    shown = [c.name for c in contract.cameras if c.kind == "rgb"]
    film = shown[0] if shown and index < rules.films else None
    longest = round(rules.controller.duration_s * contract.control_hz)
    task = TaskRules(rules.controller.duration_s, rules.hold_s)
    referee = Referee(task, contract.control_hz)
    monitor = _GoalMonitor(robot.judge, (stand_in, contract.action), referee, film)
    timed = _TimedPolicy(policy, robot.judge)
    # One step more than the episode has, so that its last one is judged, too.
    control = replace(rules.controller, duration_s=(longest + 1) / contract.control_hz)
    log = None
    if rules.logs is not None and index == 0:
        rules.logs.mkdir(parents=True, exist_ok=True)
        path = rules.logs / log_name(robot.name)
        remove_log(path)
        log = FlightLog(
            path, policy.contract, robot.name, driver=stand_in.describe(), may_drop=False
        )
    try:
        summary = run(stand_in, timed, clock, control, log, monitor)
    finally:
        if log is not None:
            log.close()
    return RobotEpisode(
        robot=robot.name,
        success=monitor.reason == SUCCESS,
        steps=summary.steps,
        episode_return=monitor.earned + rules.success_reward * (monitor.reason == SUCCESS),
        reason=monitor.reason or _stopped(summary),
        events=summary.events,
        overruns=summary.overruns,
        act_s=np.array(timed.seconds),
        wear=monitor.wear(contract.control_hz),
        frames=np.stack(monitor.frames) if monitor.frames else None,
        bodies=bodies,
    )


def log_name(robot: str) -> str:
    """Returns the name of the flight log of a robot's first episode."""
    return f"{robot.replace(' ', '_')}.flight"


def _stopped(summary: FlightSummary) -> str:
    """Returns why the guard stopped the robot."""
    seen = sorted({f"{event.code} {event.name}" for event in summary.stopped_by})
    return f"stopped by the guard: {', '.join(seen)}"


def mean_wear(episodes: Sequence[RobotEpisode]) -> tuple[JointWear, ...]:
    """Returns what wore each commanded joint over all episodes, each by its steps."""
    known = [e for e in episodes if e.wear and e.steps]
    if not known:
        return ()
    rows = np.array([[astuple(one) for one in e.wear] for e in known])  # (E, J, 4)
    weights = np.array([e.steps for e in known], float)[:, None, None] * np.isfinite(rows)
    total = weights.sum(0)
    means = np.where(total > 0, np.nansum(rows * weights, 0) / np.maximum(total, 1.0), np.nan)
    return tuple(JointWear(*one) for one in means.tolist())


def interventions(episodes: Sequence[RobotEpisode]) -> Counter[str]:
    """Returns how often the guard acted, by kind, over all episodes."""
    total: Counter[str] = Counter()
    for episode in episodes:
        total.update(episode.events)
    return total
