"""A calibrated camera's picture, turned into that of the camera that the policy was trained with.

`CameraCalibration` says what was measured of one camera beside what the model says of it; its file
is what ``train calibrate`` leaves and what ``mjx-s2r-robot run --camera-calibration FILE`` reads.
`CameraWarp` undoes a camera's turn, its field of view, its optical centre and its distortion, which
is exact whatever the scene (a rotation about the camera's own centre moves the rays alone). An
offset of the camera's place cannot be undone without the depth of every pixel: `parallax_px` says
how much of it is left.

Conventions are MuJoCo's: the camera looks along -z, x is right, y is up, the field of view is
vertical. The lens is Brown's (1966): a point at radius r, in focal lengths, is seen at
r (1 + k1 r^2 + k2 r^4).
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from mjx_s2r.contract import CameraSignal, ContractError, PolicyContract
from mjx_s2r.params import unknown

CALIBRATION_FORMAT = "mjx_s2r camera calibration 1"
NEWTON_STEPS = 6  # of the inversion of the lens


@dataclass(frozen=True)
class Lens:
    """How a camera's rays become places in its picture.

    Attributes:
        fov_deg: vertical field of view, degrees.
        centre: where the optical axis meets the picture, right and up of its middle, as shares of
            its height.
        distortion: k1 and k2.
    """

    fov_deg: float
    centre: tuple[float, float] = (0.0, 0.0)
    distortion: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class CameraCalibration:
    """One camera, as the model has it and as it was measured.

    Attributes:
        camera: its name.
        height: of the pictures it was measured in, px.
        width: of them, px.
        nominal: the model's lens.
        measured: the real one.
        offset_m: (3,) how far the real camera stands from the model's, in its parent's frame.
        turn_rad: (3,) rotation vector from the model's camera to the real one, in the model
            camera's frame.
        interval: name -> 95 % interval of each number that was measured, for people.
    """

    camera: str
    height: int
    width: int
    nominal: Lens
    measured: Lens
    offset_m: tuple[float, ...] = (0.0, 0.0, 0.0)
    turn_rad: tuple[float, ...] = (0.0, 0.0, 0.0)
    interval: Mapping[str, tuple[float, float]] | None = None

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ContractError: what no camera has.
        """
        where = f"calibration of camera {self.camera!r}"
        numbers = [*self.offset_m, *self.turn_rad]
        for lens in (self.nominal, self.measured):
            numbers += [lens.fov_deg, *lens.centre, *lens.distortion]
            if not 0 < lens.fov_deg < 180:
                raise ContractError(
                    f"{where}: field of view {lens.fov_deg} must lie between 0 and 180 degrees"
                )
        if len(numbers) != 16 or not all(map(math.isfinite, numbers)):
            raise ContractError(f"{where}: {numbers} must be 16 finite numbers; calibrate it anew")

    def save(self, path: str | Path) -> None:
        """Writes the calibration as JSON."""
        Path(path).write_text(json.dumps({"format": CALIBRATION_FORMAT, **asdict(self)}, indent=1))

    @classmethod
    def load(cls, path: str | Path) -> "CameraCalibration":
        """Reads a calibration.

        Raises:
            ContractError: no such file, or none of a camera's calibration.
        """
        try:
            body = json.loads(Path(path).read_text())
        except (OSError, ValueError) as error:
            raise ContractError(f"{path} is no camera calibration: {error}") from error
        if not isinstance(body, dict) or body.get("format") != CALIBRATION_FORMAT:
            raise ContractError(
                f"{path} is no camera calibration: it does not say {CALIBRATION_FORMAT!r}; name "
                "the camera.json that `train calibrate` wrote"
            )
        try:
            return cls.of_json(body)
        except ContractError as error:
            raise ContractError(f"{path}: {error}") from error

    @classmethod
    def of_json(cls, body: Mapping[str, Any]) -> "CameraCalibration":
        """Returns the calibration that `dataclasses.asdict` made these JSON values of.

        Raises:
            ContractError: values that are missing or no numbers.
        """
        names = {f.name for f in fields(cls)}
        given = {k: _tuples(v) for k, v in body.items() if k in names}
        try:
            for name in ("nominal", "measured"):
                given[name] = Lens(**{k: _tuples(v) for k, v in body[name].items()})
            return cls(**given)
        except (KeyError, TypeError, AttributeError) as error:
            raise ContractError(f"no whole camera calibration: {error}") from error

    def parallax_px(self, distance_m: float) -> float:
        """Returns how many pixels a point in this distance is off for the offset of the place."""
        focal_px = self.height / (2 * math.tan(math.radians(self.nominal.fov_deg) / 2))
        return focal_px * math.hypot(*self.offset_m) / distance_m


class CameraWarp:
    """Reads a real camera's pictures as the model's camera would see them.

    A colour picture is interpolated between four pixels, depth takes the nearest one and becomes
    that along the model camera's axis. What the real picture does not hold repeats its edge.
    """

    def __init__(self, calibration: CameraCalibration, signal: CameraSignal) -> None:
        """Prepares the table of pixels.

        Raises:
            ContractError: pictures of another shape than those that were calibrated.
        """
        if calibration.width * signal.height != signal.width * calibration.height:
            raise ContractError(
                f"camera {signal.name!r} has pictures of {signal.width}x{signal.height}, its "
                f"calibration is of {calibration.width}x{calibration.height}; calibrate it with "
                "pictures of the policy's shape"
            )
        rows, columns, stretch = source_pixels(calibration, signal.height, signal.width)
        high, wide = signal.height - 1, signal.width - 1
        rows, columns = np.clip(rows, 0, high), np.clip(columns, 0, wide)
        top, left = (
            np.minimum(x.astype(np.int64), most) for x, most in ((rows, high), (columns, wide))
        )
        down, right = np.minimum(top + 1, high), np.minimum(left + 1, wide)
        a, b = rows - top, columns - left
        pairs = ((top, left), (top, right), (down, left), (down, right))
        self._places = np.stack([r * signal.width + c for r, c in pairs])
        shares = ((1 - a) * (1 - b), (1 - a) * b, a * (1 - b), a * b)
        self._shares = np.stack(shares).astype(np.float32)[..., None]
        self._nearest = np.rint(rows).astype(np.int64) * signal.width + np.rint(columns).astype(
            np.int64
        )
        self._stretch = stretch.astype(np.float32)
        self._depth = signal.kind == "depth"

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Returns a picture (H, W, 3) uint8, or depth (H, W, 1) float32, of the model's camera."""
        flat = picture.reshape(-1, picture.shape[-1])
        if self._depth:
            return (flat[self._nearest, 0] * self._stretch).reshape(picture.shape)
        mixed = np.einsum("kpc,kpc->pc", flat[self._places], self._shares, dtype=np.float32)
        return (mixed + 0.5).astype(np.uint8).reshape(picture.shape)


def source_pixels(
    calibration: CameraCalibration, height: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns where the real picture shows what the model's camera would show in each pixel.

    Returns:
        (H W,) rows and columns in the real picture, 0 at the centre of the first pixel, and what
        its depth is multiplied by to be that along the model camera's axis.
    """
    nominal, real = calibration.nominal, calibration.measured
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    x = (columns.ravel() + 0.5 - width / 2) / (height / 2)
    y = (height / 2 - rows.ravel() - 0.5) / (height / 2)
    x, y = (v - 2 * c for v, c in zip((x, y), nominal.centre, strict=True))
    focal = math.tan(math.radians(nominal.fov_deg) / 2)
    x, y = undistorted(x * focal, y * focal, nominal.distortion)
    rays = np.stack((x, y, -np.ones_like(x)), axis=-1) @ rotation_of(calibration.turn_rad)
    ahead = -rays[:, 2]
    safe = np.where(ahead > 1e-6, ahead, 1e-6)
    x, y = distorted(rays[:, 0] / safe, rays[:, 1] / safe, real.distortion)
    focal = math.tan(math.radians(real.fov_deg) / 2)
    x, y = (v / focal + 2 * c for v, c in zip((x, y), real.centre, strict=True))
    return height / 2 - y * height / 2 - 0.5, x * height / 2 + width / 2 - 0.5, 1 / safe


def distorted(x: np.ndarray, y: np.ndarray, k: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Returns where a lens of k1 and k2 shows points, in focal lengths."""
    square = x * x + y * y
    out = 1 + square * (k[0] + square * k[1])
    return x * out, y * out


def undistorted(
    x: np.ndarray, y: np.ndarray, k: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns which points a lens of k1 and k2 shows at places, in focal lengths; by Newton."""
    seen = np.sqrt(x * x + y * y + 1e-24)
    radius = seen
    for _ in range(NEWTON_STEPS):
        square = radius * radius
        value = radius * (1 + square * (k[0] + square * k[1])) - seen
        slope = 1 + square * (3 * k[0] + 5 * square * k[1])
        radius = radius - value / np.maximum(slope, 0.1)
    return x * (radius / seen), y * (radius / seen)


def rotation_of(vector: tuple[float, ...]) -> np.ndarray:
    """Returns the rotation matrix (3, 3) of a rotation vector, rad, by Rodrigues' formula."""
    angle = math.hypot(*vector)
    x, y, z = np.asarray(vector, float) / (angle or 1.0)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def read_calibrations(
    paths: Sequence[Path], contract: PolicyContract
) -> tuple[CameraCalibration, ...]:
    """Returns calibrations of a policy's cameras from their files.

    Raises:
        ContractError: a file that is none, a camera that the policy does not read or that has
            pictures of another shape, or the same camera twice.
    """
    found = tuple(map(CameraCalibration.load, paths))
    names = [c.name for c in contract.cameras]
    for path, one in zip(paths, found, strict=True):
        if one.camera not in names:
            raise ContractError(f"{path}: {unknown('camera', one.camera, names)}")
        if [other.camera for other in found].count(one.camera) > 1:
            raise ContractError(f"camera {one.camera!r} is calibrated twice; name one file")
    warps_of(found, contract)
    return found


def warps_of(
    calibrations: Sequence[CameraCalibration], contract: PolicyContract
) -> dict[str, CameraWarp]:
    """Returns a warp for each camera of a contract that was calibrated, by its name.

    Raises:
        ContractError: pictures of another shape than those that were calibrated.
    """
    signals = {c.name: c for c in contract.cameras}
    return {c.camera: CameraWarp(c, signals[c.camera]) for c in calibrations if c.camera in signals}


def _tuples(value: Any) -> Any:
    """Returns JSON's lists as tuples."""
    if isinstance(value, list):
        return tuple(map(_tuples, value))
    return {k: _tuples(v) for k, v in value.items()} if isinstance(value, dict) else value
