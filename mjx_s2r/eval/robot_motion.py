"""Recording a planned motion on a simulated robot, as one would on a real one."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from mjx_s2r.contract import PolicyContract
from mjx_s2r.eval.robot_episodes import JudgedRobot, stand_in_driver
from mjx_s2r.robot.clock import VirtualClock
from mjx_s2r.robot.collect.actors import MotionActor
from mjx_s2r.robot.collect.plan import MotionConfig, plan_motion
from mjx_s2r.robot.controller import ControllerConfig, run
from mjx_s2r.robot.drivers.mujoco_wiring import Camera
from mjx_s2r.robot.log import FlightLog
from mjx_s2r.robot.log.writer import remove_log
from mjx_s2r.robot.safety import Guard, SafetyConfig

SPARE_S = 2.0  # s that a flight may last beyond its motion


def record_motion(
    robot: JudgedRobot,
    contract: PolicyContract,
    motion: MotionConfig,
    path: Path,
    camera: Camera | None = None,
) -> None:
    """Makes a motion on a robot, through the guard, and writes its flight log to ``path``.

    Args:
        robot: the robot.
        contract: what is read and commanded; the pictures of its cameras are kept.
        motion: what it does.
        path: of the log; one that is there is replaced.
        camera: another renderer than MuJoCo's.

    Raises:
        ContractError: a robot of efforts, or a motion that the limits leave nothing of.
    """
    clock = VirtualClock()
    driver = stand_in_driver(robot, contract, clock, camera)
    seed = robot.imperfections.seed
    driver.reset(seed=seed, place=robot.judge.begin(seed))
    info = driver.describe()
    centre = np.asarray(driver.read().signals["joint_pos"], float)
    plan = plan_motion(motion, Guard.build(SafetyConfig(), contract, info), centre)
    actor = MotionActor(replace(plan, contract=replace(plan.contract, cameras=contract.cameras)))
    driver.reset(seed=seed, place=robot.judge.begin(seed))
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_log(path)
    seconds = plan.seconds + SPARE_S
    try:
        with FlightLog(path, actor.contract, robot.name, driver=info, may_drop=False) as log:
            run(driver, actor, clock, ControllerConfig(seconds), log, lambda _: actor.done)
    finally:
        driver.close()
