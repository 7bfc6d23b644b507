"""Calibration of a stand-in's cameras before it is judged, as one would calibrate a robot's.

The robot rests in some poses, through controller and guard; its pictures and joint readings go into
a flight log; `mjx_s2r.transfer.camera` finds each camera from the log; and every picture is turned
into that of the model's camera before the policy sees it. Nothing is known of the robot but the
log.
"""

import tempfile
from pathlib import Path

import mujoco

from mjx_s2r.contract import PolicyContract
from mjx_s2r.eval.robot_episodes import JudgedRobot
from mjx_s2r.eval.robot_motion import record_motion
from mjx_s2r.robot.camera_warp import CameraCalibration
from mjx_s2r.robot.collect.plan import MotionConfig
from mjx_s2r.robot.drivers.mujoco_wiring import Camera, placed_bodies
from mjx_s2r.sim.task import Task
from mjx_s2r.transfer.camera.calibrate import CameraSettings, calibrate_camera
from mjx_s2r.transfer.camera.pictures import LEAST_POSES, CalibrationError, pictures_of_flight

REACH = 0.5  # rad or m around the pose that an episode begins in
REST_S = 1.0  # s of each rest, and of the way to it


def calibrated_cameras(
    robot: JudgedRobot,
    task: Task,
    contract: PolicyContract,
    poses: int,
    camera: Camera | None = None,
) -> tuple[CameraCalibration, ...]:
    """Returns the calibrations of a stand-in's colour cameras.

    What the task puts somewhere at random (mocap and free bodies) is left out of the scene. A
    camera whose pictures do not inform keeps the model's place: it has no calibration.

    Args:
        robot: the stand-in.
        task: whose scene is shown.
        contract: of the policy, with its cameras.
        poses: in which pictures are taken, at least 4.
        camera: another renderer than MuJoCo's.

    Raises:
        CalibrationError: too few poses.
    """
    if poses < LEAST_POSES:
        raise CalibrationError(f"calibrate {poses}: at least {LEAST_POSES} poses tell a camera")
    motion = MotionConfig(
        kind="gravity-rest",
        amplitude=REACH,
        seconds=2 * REST_S * (poses + 1),
        hold_s=REST_S,
        seed=int(robot.imperfections.seed),
    )
    found: list[CameraCalibration] = []
    movable = tuple(placed_bodies(task.mj_model, mujoco.MjData(task.mj_model)))
    settings = CameraSettings(colours=False, unknown=movable, most_pictures=poses)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "poses.flight"
        record_motion(robot, contract, motion, log, camera)
        for signal in contract.cameras:
            if signal.kind != "rgb":
                continue
            try:
                pictures = pictures_of_flight(log, signal.name)
                done = calibrate_camera(task, signal.name, pictures, settings)
            except CalibrationError:
                continue
            found.append(done.calibration)
    return tuple(found)
