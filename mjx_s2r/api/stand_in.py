"""The stand-in as a named driver: the robot of a policy's task, in C MuJoCo, for a controller."""

from pathlib import Path
from typing import Literal

from mjx_s2r.api.robots import EvaluateConfig, realities
from mjx_s2r.contract import ContractError
from mjx_s2r.eval.robot_episodes import JudgedRobot, stand_in_driver
from mjx_s2r.eval.stand_ins import stand_ins
from mjx_s2r.io.config import ConfigError
from mjx_s2r.params import ParamError
from mjx_s2r.render.cameras import RayCamera
from mjx_s2r.robot.drivers.named import DriverOrder
from mjx_s2r.robot.drivers.sim_robot import SimRobot, can_render
from mjx_s2r.sim.backends.physics_config import ModelError
from mjx_s2r.sim.task import TaskError

OPTIONS = ("task", "reality", "robots", "seed")


def stand_in_factory(order: DriverOrder) -> SimRobot:
    """Returns a robot of the contract's task, where an episode begins.

    Options: ``task``, where it is not the contract's; ``reality``, a file; ``robots``, "held_out"
    or "rehearsal" (the default); ``seed`` of the start.

    Raises:
        ContractError: an unknown option, or a task or reality that cannot be built.
    """
    unknown = [name for name in order.options if name not in OPTIONS]
    if unknown:
        raise ContractError(f"stand-in option {unknown[0]!r} is none of {', '.join(OPTIONS)}")
    try:
        seed = int(order.options.get("seed", "0"))
        robot = _robot(order)
    except (ParamError, ConfigError, ModelError, TaskError, ValueError) as error:
        raise ContractError(f"no stand-in for task {order.contract.task!r}: {error}") from error
    camera = None
    if order.contract.cameras and not can_render():
        camera = RayCamera(order.contract)
    driver = stand_in_driver(robot, order.contract, order.clock, camera)
    driver.reset(seed=seed, place=robot.judge.begin(seed))
    return driver


def _robot(order: DriverOrder) -> JudgedRobot:
    """Returns the first robot of the reality that the options name."""
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
    return next(stand_ins(task, realities(name, config)))
