"""Pictures of a scene in known poses: from a flight log, or from a folder of PNGs and a CSV.

Checks come before any long work: pictures of one size and of the camera's shape, poses that
differ, pictures that show something and that differ where the poses do.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
from PIL import Image

from mjx_s2r.drives import resolve
from mjx_s2r.params import unknown
from mjx_s2r.robot.log import read
from mjx_s2r.transfer.unread_joints import follow_ties

LEAST_POSES = 4  # fewer do not tell the camera's place from its turn
SAME_POSE = 0.02  # rad or m: poses nearer than this are one
BLANK = 2.0  # counts: a picture whose deviation is below shows nothing
STILL = 1.0  # counts: pictures that differ by less, on average over what changes, do not move
DEGREES = 180 / np.pi


class CalibrationError(ValueError):
    """Pictures that cannot calibrate a camera; the message names them and the remedy."""


@dataclass(frozen=True, eq=False)
class PosedPictures:
    """M pictures of one camera and the joints' readings when they were taken.

    Attributes:
        images: (M, H, W, 3) uint8 RGB.
        joint_pos: (M, J) rad or m.
        joints: (J,) names of the joints or of their actuators.
        names: (M,) where each comes from, for messages.
        source: file or folder.
    """

    images: np.ndarray
    joint_pos: np.ndarray
    joints: tuple[str, ...]
    names: tuple[str, ...]
    source: str

    def __len__(self) -> int:
        """Number of pictures, M."""
        return len(self.images)

    def chosen(self, index: np.ndarray) -> "PosedPictures":
        """Returns some of the pictures."""
        return PosedPictures(
            self.images[index],
            self.joint_pos[index],
            self.joints,
            tuple(self.names[i] for i in index),
            self.source,
        )


def pictures_of_flight(
    path: Path, camera: str, *, signal: str = "joint_pos", slowest: float = 0.5
) -> PosedPictures:
    """Reads the pictures of a flight log that were taken while the robot moved slowly.

    The joints' readings are interpolated to the time that each picture is stamped with; a camera
    that stamps late shows an older pose, which matters least where the robot is slow.

    Args:
        path: the log.
        camera: name of the camera.
        signal: the joints' positions, in the order of the contract's joints.
        slowest: share of the pictures that is kept, the slowest ones.

    Raises:
        LogError: no flight log, or no such signal.
        CalibrationError: no picture of that camera, or a signal of another size.
    """
    flight = read(path, images=False)
    shots = list(flight.steps.pictures(camera))
    if not shots:
        known = [c.name for c in flight.contract.cameras]
        raise CalibrationError(
            f"{path} holds no picture of camera {camera!r} (its contract has {known}); fly without "
            "--no-images, or name another camera"
        )
    joints, readings = flight.contract.action.joints, flight.signal(signal)
    if readings.shape[1] != len(joints):
        raise CalibrationError(
            f"{path}: signal {signal!r} has {readings.shape[1]} values for {len(joints)} joints; "
            "name the signal that holds the joints' positions"
        )
    time_s = np.array([s.reading.time_s if s.reading else np.nan for s in flight.bare()])
    known_rows = np.isfinite(time_s) & np.isfinite(readings).all(1)
    time_s, readings = time_s[known_rows], readings[known_rows]
    stamps = np.array([shot.time_s for shot in shots], float)
    inside = np.flatnonzero((stamps >= time_s[0]) & (stamps <= time_s[-1]))
    at = np.stack([np.interp(stamps, time_s, column) for column in readings.T], axis=1)
    later = np.stack([np.interp(stamps + 0.04, time_s, column) for column in readings.T], axis=1)
    order = inside[np.argsort(np.abs(later - at).max(1)[inside], kind="stable")]
    kept = np.sort(order[: max(LEAST_POSES, int(np.ceil(slowest * len(order))))])
    return PosedPictures(
        _stacked([shots[i].array() for i in kept], [f"{path}, {stamps[i]:.3f} s" for i in kept]),
        at[kept],
        joints,
        tuple(f"{stamps[i]:.3f} s" for i in kept),
        str(path),
    )


def pictures_of_folder(folder: Path, table: Path) -> PosedPictures:
    """Reads a folder of PNG files and a CSV with one line for each: picture, joint, joint, ...

    The column "picture" holds the file's name, every other one a joint's position, rad or m.

    Raises:
        CalibrationError: a file that is missing or no picture, a table without that column, or
            what is no number.
    """
    try:
        with table.open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(f"{table} cannot be read: {error}") from error
    columns = list(lines[0]) if lines else []
    if "picture" not in columns or len(columns) < 2:
        raise CalibrationError(
            f"{table} needs a head with the column 'picture' and one for each joint; it has "
            f"{columns or 'no line'}"
        )
    joints = tuple(name for name in columns if name != "picture")
    images, rows = [], []
    for number, line in enumerate(lines, 2):
        path = folder / str(line["picture"])
        try:
            images.append(np.asarray(Image.open(path).convert("RGB")))
            rows.append([float(line[joint]) for joint in joints])
        except OSError as error:
            raise CalibrationError(
                f"{table}, line {number}: no picture {path} ({error})"
            ) from error
        except (TypeError, ValueError) as error:
            raise CalibrationError(f"{table}, line {number}: {error}") from error
    names = [str(line["picture"]) for line in lines]
    return PosedPictures(_stacked(images, names), np.array(rows), joints, tuple(names), str(folder))


def _stacked(images: Sequence[np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Returns (M, H, W, 3) uint8.

    Raises:
        CalibrationError: a picture that is not colour, or of another size than the first.
    """
    for image, name in zip(images, names, strict=True):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise CalibrationError(
                f"picture {name} is {image.dtype}{list(image.shape)}; 8-bit RGB is needed"
            )
        if image.shape != images[0].shape:
            raise CalibrationError(
                f"picture {name} is {image.shape[1]}x{image.shape[0]}, the first "
                f"{images[0].shape[1]}x{images[0].shape[0]}; give pictures of one size"
            )
    return np.stack(images)


def informed_positions(
    pictures: PosedPictures, mj_model: mujoco.MjModel, size: tuple[int, int]
) -> np.ndarray:
    """Checks what can be told before any fit; returns (M, nq) positions of the model.

    Args:
        pictures: the pictures.
        mj_model: the model.
        size: height and width of the camera's pictures in the contract, px.

    Raises:
        CalibrationError: pictures of another shape, that show nothing or that do not move; too few
            poses; readings that are no radians.
        ParamError: a joint that the model does not have.
    """
    height, width = pictures.images.shape[1:3]
    if height * size[1] != width * size[0]:
        raise CalibrationError(
            f"pictures are {width}x{height}, the camera's {size[1]}x{size[0]}; crop or scale them "
            "to that shape, as the robot's driver does"
        )
    flat = pictures.images.reshape(len(pictures), -1).astype(np.float32)
    blank = np.flatnonzero(flat.std(1) < BLANK)
    if len(blank):
        raise CalibrationError(
            f"picture {pictures.names[blank[0]]} of {pictures.source} is blank (deviation "
            f"{flat[blank[0]].std():.1f} of 255); uncover the camera, or leave the picture out"
        )
    apart = np.abs(pictures.joint_pos[:, None] - pictures.joint_pos[None]).max(-1)
    poses = _count_apart(apart > SAME_POSE)
    if poses < LEAST_POSES:
        raise CalibrationError(
            f"{pictures.source} shows {poses} pose{'s' * (poses > 1)} that differ by more than "
            f"{SAME_POSE} rad; at least {LEAST_POSES} are needed to tell where the camera is from "
            "where it looks: move the robot between pictures"
        )
    if len(np.unique(flat, axis=0)) < poses or _largest_change(flat) < STILL:
        raise CalibrationError(
            f"the pictures of {pictures.source} do not change while the joints do; the camera "
            "stands still (frozen stream), or does not see the robot"
        )
    return model_positions(pictures, mj_model)


def model_positions(pictures: PosedPictures, mj_model: mujoco.MjModel) -> np.ndarray:
    """Returns (M, nq) positions of the model.

    Joints that were not read follow those that an equality ties them to, else stay at qpos0.

    Raises:
        CalibrationError: readings far outside of a joint's range.
        ParamError: a joint that the model does not have.
    """
    known = [mj_model.joint(i).name for i in range(mj_model.njnt)]
    if all(name in known for name in pictures.joints):
        ids = np.array([mj_model.joint(name).id for name in pictures.joints])
    else:
        names = [*known, *(mj_model.actuator(i).name for i in range(mj_model.nu))]
        for name in pictures.joints:
            if name not in names:
                raise unknown("joint", name, names)
        ids = resolve(mj_model, pictures.joints).joints
    for joint, values in zip(ids, pictures.joint_pos.T, strict=True):
        low, high = mj_model.jnt_range[joint]
        slack = 0.25 * (high - low)
        if mj_model.jnt_limited[joint] and not (
            low - slack <= values.min() and values.max() <= high + slack
        ):
            hint = "read them in radians and metres"
            if low - slack <= values.min() / DEGREES and values.max() / DEGREES <= high + slack:
                hint = f"they fit in degrees: divide them by {DEGREES:.1f}"
            raise CalibrationError(
                f"joint {mj_model.joint(int(joint)).name!r} is read from {values.min():.3g} to "
                f"{values.max():.3g}, its range is {low:.3g} to {high:.3g}; {hint}"
            )
    qpos = np.tile(mj_model.qpos0, (len(pictures), 1))
    qpos[:, mj_model.jnt_qposadr[ids]] = pictures.joint_pos
    follow_ties(mj_model, ids.tolist(), qpos)
    return qpos


def _count_apart(apart: np.ndarray) -> int:
    """Returns how many of M poses are apart from all that were counted before, from (M, M) bool."""
    kept: list[int] = []
    for i in range(len(apart)):
        if all(apart[i, j] for j in kept):
            kept.append(i)
    return len(kept)


def _largest_change(flat: np.ndarray) -> float:
    """Returns the mean of the tenth of the numbers that change most between pictures, counts."""
    spread = np.sort(flat.std(0))
    return float(spread[-max(1, len(spread) // 10) :].mean())


def spread_out(pictures: PosedPictures, most: int) -> PosedPictures:
    """Returns at most ``most`` pictures whose poses are far from each other.

    Each is the farthest from those before it, in joint positions over their spread (Gonzalez 1985).
    """
    if len(pictures) <= most:
        return pictures
    spread = np.maximum(pictures.joint_pos.std(0), 1e-3)
    places = pictures.joint_pos / spread
    chosen = [int(np.argmin(np.linalg.norm(places - places.mean(0), axis=1)))]
    away = np.full(len(pictures), np.inf)
    while len(chosen) < most:
        away = np.minimum(away, np.linalg.norm(places - places[chosen[-1]], axis=1))
        chosen.append(int(np.argmax(away)))
    return pictures.chosen(np.sort(chosen))
