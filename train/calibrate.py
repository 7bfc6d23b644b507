"""python -m train calibrate LOG --task T --camera C: where a camera is and how it sees.

Reads pictures of the task's scene in known poses (a flight log, or a folder of PNG files and a CSV
of joint positions), or of a checkerboard (--board), and finds the camera's place, turn and lens
and, by the renderer, the rows of light and colours. Writes OUT/posterior.json for training,
OUT/camera.json for the robot (mjx-s2r-robot run --camera-calibration) and OUT/report.html.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from scipy.spatial.transform import Rotation

from mjx_s2r.envs.registry import make_task
from mjx_s2r.robot.camera_warp import CameraCalibration
from mjx_s2r.runtime.progress import console, print_line
from mjx_s2r.sim.task import Task
from mjx_s2r.transfer.camera.calibrate import CameraSettings, calibrate_camera
from mjx_s2r.transfer.camera.camera_report import row_lines, write_camera_report
from mjx_s2r.transfer.camera.checkerboard import Checkerboard, Mounting, calibrate_by_board
from mjx_s2r.transfer.camera.pictures import (
    CalibrationError,
    PosedPictures,
    pictures_of_flight,
    pictures_of_folder,
)
from mjx_s2r.transfer.posterior import Posterior

ROOM = 18  # characters of a row's name
TYPICAL_M = 0.5  # distance at which the parallax that a warp leaves is told


@dataclass(frozen=True, kw_only=True)
class CalibrateConfig:
    """Settings of a calibration."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PICTURES")]
    """A flight log, or a folder of PNG files."""
    task: str
    """The task whose scene the pictures show: its name, or module:Class."""
    camera: str = ""
    """The camera's name in the model; by default the first one of the task's contract."""
    joints: Path | None = None
    """CSV with a line for each PNG file: the column picture, and one for each joint, rad or m. By
    default joints.csv in the folder."""
    out: Path = Path("runs/calibration")
    """Folder of what is found; made here."""
    board: tuple[int, int, float] | None = None
    """A checkerboard instead of the scene: inner corners in a row and in a column, and the side of
    a square, m. Needs OpenCV: pip install 'mjx_s2r[calibration]'."""
    board_is: Mounting = "free"
    """Free: shown anywhere, the lens alone is found. Held: on --board-body at an unknown place, in
    the poses of the joints' positions; the camera's place and turn are found, too. Fixed: so, at
    the place that --board-pose tells."""
    board_body: str = "world"
    """The body that holds the board."""
    board_pose: tuple[float, float, float, float, float, float, float] | None = None
    """Of a fixed board in that body's frame: its first inner corner, x y z, m, and its turn, the
    quaternion w x y z; its x axis runs along a row of corners, its z axis into the board."""
    settings: Annotated[CameraSettings, tyro.conf.arg(name="")] = field(
        default_factory=CameraSettings
    )
    """What is fitted."""


def read_pictures(config: CalibrateConfig, camera: str) -> PosedPictures:
    """Returns the pictures that a command line names.

    Raises:
        LogError: no flight log.
        CalibrationError: no such file or folder, or what holds no pictures.
    """
    if config.source.is_dir():
        return pictures_of_folder(config.source, config.joints or config.source / "joints.csv")
    if not config.source.exists():
        raise CalibrationError(
            f"{config.source} does not exist; name a flight log or a folder of PNG files"
        )
    return pictures_of_flight(config.source, camera)


def by_board(
    config: CalibrateConfig,
    board: Checkerboard,
    task: Task,
    camera: str,
    pictures: PosedPictures,
) -> None:
    """Calibrates by a checkerboard, and writes what was found.

    Raises:
        CalibrationError: a pose without a turn, or pictures that do not inform.
    """
    pose = None
    if config.board_pose is not None:
        turn = np.array(config.board_pose[3:])
        if not turn.any():
            raise CalibrationError("--board-pose ends in the quaternion 0 0 0 0; write w x y z")
        pose = np.array(config.board_pose[:3]), Rotation.from_quat(turn[[1, 2, 3, 0]]).as_matrix()
    posterior, calibration, fit = calibrate_by_board(
        task,
        camera,
        pictures,
        board,
        config.board_is,
        body=config.board_body,
        pose=pose,
        centre=config.settings.centre,
    )
    write_results(config.out, posterior, calibration, task)
    print_line(
        f"corners lie {np.median(fit.error_px):.2f} px from the fit (median), "
        f"{np.median(fit.before_px):.2f} px from the model's camera"
    )


def write_results(
    out: Path, posterior: Posterior, calibration: CameraCalibration, task: Task
) -> None:
    """Writes what training and the robot read, and prints the rows."""
    out.mkdir(parents=True, exist_ok=True)
    posterior.save(out / "posterior.json", task.space)
    calibration.save(out / "camera.json")
    for name, best, low, high, unit, words in row_lines(posterior):
        print_line(f"{name:<{ROOM}} {best:>9} {unit:<4} ({low} to {high}) {words}".rstrip())
    lacking = [name for name in posterior.space.names if name not in task.space.names]
    if lacking:
        print_line(
            f"note: not in the table of {task.name}: {', '.join(lacking)}; --ranges leaves that "
            "out, the robot's warp takes it from camera.json"
        )


def main(argv: Sequence[str]) -> None:
    """Parses the command line, calibrates and writes what was found."""
    config = tyro.cli(CalibrateConfig, args=list(argv))
    task = make_task(config.task)
    names = [c.name for c in task.contract.cameras]
    if not config.camera and not names:
        raise CalibrationError(f"task {task.name!r} has no camera in its contract; name --camera")
    camera = config.camera or names[0]
    pictures = read_pictures(config, camera)
    if config.board is not None:
        by_board(config, Checkerboard(*config.board), task, camera, pictures)
        return
    with console.status("reading") as status:
        found = calibrate_camera(task, camera, pictures, config.settings, status.update)
    write_results(config.out, found.posterior, found.calibration, task)
    write_camera_report(config.out / "report.html", found)
    for line in found.warnings:
        print_line(f"note: {line}")
    left_px = found.calibration.parallax_px(TYPICAL_M)
    print_line(
        f"a warp leaves the camera's offset: {left_px:.1f} px for what is {TYPICAL_M} m away"
    )
    print_line(f"{config.out / 'report.html'}: look at it before you train")
