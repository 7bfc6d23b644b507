"""python -m train calibrate LOG --task T --camera C: where a camera is and how it sees.

Reads pictures of the task's scene in known poses (a flight log, or a folder of PNG files and a CSV
of joint positions), or of a checkerboard (--board), and finds the camera's place, turn and lens
and, by the renderer, the rows of light and colours. Writes OUT/posterior.json for training,
OUT/camera.json for the robot (mjx-s2r-robot run --camera-calibration) and OUT/report.html.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from mjx_s2r.envs.registry import make_task
from mjx_s2r.robot.camera_warp import CameraCalibration
from mjx_s2r.runtime.progress import console, print_line
from mjx_s2r.sim.task import Task
from mjx_s2r.transfer.camera.calibrate import CameraSettings, calibrate_camera
from mjx_s2r.transfer.camera.camera_report import row_lines, write_camera_report
from mjx_s2r.transfer.camera.checkerboard import Checkerboard, calibrate_by_board
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

    source: Annotated[Path, tyro.conf.Positional]
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
    board_is: Literal["free", "held"] = "free"
    """Free: shown anywhere, the lens alone is found. Held: fixed to --board-body at an unknown
    place, in the poses of the joints' positions; the camera's place and turn are found, too."""
    board_body: str = "world"
    """The body that holds the board."""
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
    """Calibrates by a checkerboard, and writes what was found."""
    posterior, calibration, fit = calibrate_by_board(
        task,
        camera,
        pictures,
        board,
        config.board_is,
        body=config.board_body,
        centre=config.settings.centre,
    )
    write_results(config.out, posterior, calibration)
    print_line(
        f"corners lie {np.median(fit.error_px):.2f} px from the fit (median), "
        f"{np.median(fit.before_px):.2f} px from the model's camera"
    )


def write_results(out: Path, posterior: Posterior, calibration: CameraCalibration) -> None:
    """Writes what training and the robot read, and prints the rows."""
    out.mkdir(parents=True, exist_ok=True)
    posterior.save(out / "posterior.json")
    calibration.save(out / "camera.json")
    for name, best, low, high, unit, words in row_lines(posterior):
        print_line(f"{name:<{ROOM}} {best:>9} {unit:<4} ({low} to {high}) {words}".rstrip())


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
    write_results(config.out, found.posterior, found.calibration)
    write_camera_report(config.out / "report.html", found)
    for line in found.warnings:
        print_line(f"note: {line}")
    left_px = found.calibration.parallax_px(TYPICAL_M)
    print_line(
        f"a warp leaves the camera's offset: {left_px:.1f} px for what is {TYPICAL_M} m away"
    )
    print_line(f"{config.out / 'report.html'}: look at it before you train")
