"""The stand-in as a named driver: the robot of a policy's task, in C MuJoCo, for a controller."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from mjx_s2r.api.robots import EvaluateConfig, realities
from mjx_s2r.contract import ContractError
from mjx_s2r.eval.robot_episodes import JudgedRobot, stand_in_driver
from mjx_s2r.eval.stand_ins import stand_ins
from mjx_s2r.io.config import ConfigError
from mjx_s2r.params import ParamError
from mjx_s2r.render.cameras import RayCamera
from mjx_s2r.robot.driver import DriverInfo, Reading, TaskRules
from mjx_s2r.robot.drivers.named import DriverOrder
from mjx_s2r.robot.drivers.sim_robot import SimRobot, can_render
from mjx_s2r.robot.verdict import DISTANCE, LOST, ON_GOAL
from mjx_s2r.sim.backends.physics_config import ModelError
from mjx_s2r.sim.task import Task, TaskError

OPTIONS = ("task", "reality", "robots", "seed")


class TaskStandIn:
    """A stand-in that knows its task; implements `mjx_s2r.robot.driver.EpisodicDriver`."""

    def __init__(self, robot: SimRobot, judged: JudgedRobot, task: Task, seed: int) -> None:
        """Takes the robot, who judges it, the rules of its task and the seed of the first start."""
        self._robot, self._judge, self._seed = robot, judged.judge, seed
        self._rules = TaskRules(float(task.episode_s), float(task.hold_s))
        self._measures = callable(getattr(task, "goal_distance", None))

    def describe(self) -> DriverInfo:
        """Returns the data sheet, with the task's rules and what is told of it."""
        info = self._robot.describe()
        told = (ON_GOAL, LOST, DISTANCE) if self._measures else (ON_GOAL, LOST)
        return replace(info, signals={**info.signals, **dict.fromkeys(told, 1)}, task=self._rules)

    def connect(self) -> None:
        """Opens the cameras' renderers.

        Raises:
            NoDisplayError: as `SimRobot.connect`.
        """
        self._robot.connect()

    def begin_episode(self, number: int) -> None:
        """Draws where episode ``number`` begins, and puts robot and things there."""
        seed = self._seed + number - 1
        self._robot.reset(seed=seed, place=self._judge.begin(seed))

    def read(self) -> Reading:
        """Returns a reading, with what the task says of the true state."""
        reading, state = self._robot.read(), self._judge.state
        told: dict[str, float] = {ON_GOAL: state.on_goal, LOST: state.failed}
        if self._measures:
            told[DISTANCE] = np.nan if state.distance is None else state.distance
        signals = {name: np.array([value], float) for name, value in told.items()}
        return replace(reading, signals={**reading.signals, **signals})

    def write(self, command: np.ndarray) -> None:
        """Puts a command (J,) on the bus."""
        self._robot.write(command)

    def stop(self) -> None:
        """Holds the joints where they are, or takes the force away."""
        self._robot.stop()

    def close(self) -> None:
        """Stops and closes the renderers."""
        self._robot.close()


def stand_in_factory(order: DriverOrder) -> TaskStandIn:
    """Returns a robot of the contract's task, where an episode begins.

    Options: ``task``, where it is not the contract's; ``reality``, a file; ``robots``, "held_out"
    or "rehearsal" (the default); ``seed`` of the first start, the others follow.

    Raises:
        ContractError: an unknown option, or a task or reality that cannot be built.
    """
    unknown = [name for name in order.options if name not in OPTIONS]
    if unknown:
        raise ContractError(f"stand-in option {unknown[0]!r} is none of {', '.join(OPTIONS)}")
    try:
        seed = int(order.options.get("seed", "0"))
        robot, task = _robot(order)
    except (ParamError, ConfigError, ModelError, TaskError, ValueError) as error:
        raise ContractError(f"no stand-in for task {order.contract.task!r}: {error}") from error
    camera = None
    if order.contract.cameras and not can_render():
        camera = RayCamera(order.contract)
    body = stand_in_driver(robot, order.contract, order.clock, camera)
    driver = TaskStandIn(body, robot, task, seed)
    driver.begin_episode(1)
    return driver


def _robot(order: DriverOrder) -> tuple[JudgedRobot, Task]:
    """Returns the first robot of the reality that the options name, and its task."""
    from mjx_s2r.envs.registry import make_task

    asked = order.options.get("robots", "rehearsal")
    if asked not in ("held_out", "rehearsal"):
        raise ContractError(f"stand-in option robots={asked!r} must be held_out or rehearsal")
    robots: Literal["held_out", "rehearsal"] = "held_out" if asked == "held_out" else "rehearsal"
    name = order.options.get("task", order.contract.task)
    reality = order.options.get("reality")
    config = EvaluateConfig(reality=Path(reality) if reality else None, robots=robots, count=1)
    try:
        task = make_task(name)
    except ParamError as error:
        if "task" in order.options:
            raise
        raise ParamError(f"{error}; say --option task=module:Class") from error
    return stand_ins(task, realities(name, config))[0], task
