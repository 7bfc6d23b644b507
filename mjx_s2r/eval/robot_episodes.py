"""Policy evaluation on simulated robots: one episode at a time, as in service.

Every episode runs through the same controller, guard and ONNX file as on a robot; there is no
second path. Success is measured on the simulated robot's true state, at the rate of control: the
goal must hold for the task's ``hold_s``. For thousands of episodes at once see
`mjx_s2r.learn.evaluation`.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import mujoco
import numpy as np

from mjx_s2r.robot.clock import VirtualClock
from mjx_s2r.robot.controller import ControllerConfig, run
from mjx_s2r.robot.driver import Reading
from mjx_s2r.robot.drivers.imperfections import Imperfections
from mjx_s2r.robot.drivers.mujoco_wiring import Camera, Pose, rig_for
from mjx_s2r.robot.drivers.sim_robot import SimRobot
from mjx_s2r.robot.log import FlightLog
from mjx_s2r.robot.policy import Policy


@dataclass(frozen=True)
class StartPose:
    """Start pose of an episode on the robot: joint positions and bodies by name."""

    qpos: np.ndarray
    bodies: Mapping[str, Pose]


@dataclass(frozen=True)
class JudgedRobot:
    """A simulated robot that policies are judged on.

    Attributes:
        name: what it is called in the report.
        model: its C MuJoCo model, held-out numbers already in it.
        imperfections: its flaws.
        start_pose: draws the start of an episode.
        on_goal: whether the goal holds now, from the true state.
    """

    name: str
    model: mujoco.MjModel
    imperfections: Imperfections
    start_pose: Callable[[np.random.Generator], StartPose]
    on_goal: Callable[[mujoco.MjModel, mujoco.MjData], bool]


@dataclass(frozen=True)
class RobotEpisode:
    """One episode on a robot.

    Attributes:
        robot: its name.
        success: the goal was held long enough.
        steps: commands sent.
        reason: why it ended, see `robot.controller.FlightSummary`.
        events: interventions of the guard by code.
        overruns: missed deadlines.
        act_s: (steps,) time that the policy took, s.
        frames: (F, H, W, 3) uint8 of the first colour camera, where they were asked for.
    """

    robot: str
    success: bool
    steps: int
    reason: str
    events: Mapping[str, int]
    overruns: int
    act_s: np.ndarray
    frames: np.ndarray | None = None


@dataclass(frozen=True)
class EvalConfig:
    """Rules of an episode.

    Attributes:
        hold_s: how long the goal must hold, s.
        films: of how many episodes per robot the frames are kept; none where there is no camera.
        logs: folder for flight logs, one a robot's first episode; None writes none.
        camera: another renderer than MuJoCo's, where there is no OpenGL.
        controller: settings of controller and guard; its ``duration_s`` is the longest episode.
    """

    hold_s: float
    films: int = 0
    logs: Path | None = None
    camera: Camera | None = None
    controller: ControllerConfig = field(default_factory=ControllerConfig)


class _GoalMonitor:
    """Ends an episode when the goal has been held; keeps frames."""

    def __init__(
        self, robot: JudgedRobot, stand_in: SimRobot, steps: int, film: str | None
    ) -> None:
        """Takes the robot, the steps for which the goal must hold, and the camera to keep."""
        self._robot, self._stand_in, self._steps, self._film = robot, stand_in, steps, film
        self.held = 0
        self.frames: list[np.ndarray] = []

    def __call__(self, reading: Reading) -> bool:
        """Returns whether the episode is over."""
        here = self._robot.on_goal(self._stand_in.model, self._stand_in.data)
        self.held = self.held + 1 if here else 0
        if self._film is not None:
            self.frames.append(np.array(reading.images[self._film]))
        return self.held >= self._steps


class _TimedPolicy:
    """An actor that keeps the time each call took."""

    def __init__(self, policy: Policy) -> None:
        """Wraps a policy."""
        self._policy, self.contract = policy, policy.contract
        self.seconds: list[float] = []

    def act(self, obs: np.ndarray, images: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the policy's action and notes the time."""
        before = time.perf_counter()
        action = self._policy.act(obs, images)
        self.seconds.append(time.perf_counter() - before)
        return action


def run_episodes(
    policy: Policy, robots: Sequence[JudgedRobot], episodes: int, rules: EvalConfig
) -> Iterator[RobotEpisode]:
    """Runs ``episodes`` on each robot, one after another, and yields each as it ends.

    Starts are drawn from the robot's own seed, so that two policies meet the same ones.
    """
    for robot in robots:
        clock = VirtualClock()
        rig = rig_for(policy.contract, rules.camera)
        stand_in = SimRobot(robot.model, rig, clock, robot.imperfections)
        stand_in.connect()
        try:
            for index in range(episodes):
                yield _episode(policy, robot, (stand_in, clock), index, rules)
        finally:
            stand_in.close()


def _episode(
    policy: Policy,
    robot: JudgedRobot,
    rig: tuple[SimRobot, VirtualClock],
    index: int,
    rules: EvalConfig,
) -> RobotEpisode:
    """Runs one episode."""
    stand_in, clock = rig
    seed = (robot.imperfections.seed, index)
    start = robot.start_pose(np.random.default_rng((1, *seed)))
    stand_in.reset(start.qpos, bodies=start.bodies, seed=int(1000 * seed[0] + index))
    cameras = policy.contract.cameras
    shown = [c.name for c in cameras if c.kind == "rgb"]
    film = shown[0] if shown and index < rules.films else None
    hold = max(1, round(rules.hold_s * policy.contract.control_hz))
    monitor, timed = _GoalMonitor(robot, stand_in, hold, film), _TimedPolicy(policy)
    log = None
    if rules.logs is not None and index == 0:
        rules.logs.mkdir(parents=True, exist_ok=True)
        path = rules.logs / f"{robot.name.replace(' ', '_')}.flight"
        path.unlink(missing_ok=True)
        log = FlightLog(path, policy.contract, robot.name)
    try:
        summary = run(stand_in, timed, clock, rules.controller, log, monitor)
    finally:
        if log is not None:
            log.close()
    return RobotEpisode(
        robot=robot.name,
        success=monitor.held >= hold,
        steps=summary.steps,
        reason=summary.reason,
        events=summary.events,
        overruns=summary.overruns,
        act_s=np.array(timed.seconds),
        frames=np.stack(monitor.frames) if monitor.frames else None,
    )


def interventions(episodes: Sequence[RobotEpisode]) -> Counter[str]:
    """Returns how often the guard acted, by kind, over all episodes."""
    total: Counter[str] = Counter()
    for episode in episodes:
        total.update(episode.events)
    return total
