"""The last pictures of each camera, as the policy reads them: stacked, depth in metres."""

import math
from collections import deque
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np

from mjx_s2r.contract import CameraSignal, PolicyContract
from mjx_s2r.robot.camera_warp import CameraWarp


def is_picture(camera: CameraSignal, image: Any) -> bool:
    """Returns whether an image has the shape and the type of a camera's pictures.

    That is (H, W, 3) uint8, or (H, W) of a depth camera: float32 metres or uint16 counts.
    """
    if not isinstance(image, np.ndarray):
        return False
    if camera.kind == "depth":
        kinds: tuple[str, ...] = ("float32", "uint16")
        return image.shape == (camera.height, camera.width) and image.dtype.name in kinds
    return image.shape == (camera.height, camera.width, 3) and image.dtype == np.uint8


def as_read(camera: CameraSignal, image: np.ndarray) -> np.ndarray:
    """Returns a driver's picture as the policy reads it: (H, W, 3) uint8, or depth in metres.

    Depth is (H, W, 1) float32, 0 where there is no answer between the camera's near and far.
    """
    if camera.kind != "depth":
        return image
    metres = image.astype(np.float32)
    if image.dtype == np.uint16:
        metres *= np.float32(camera.unit_m)
    with np.errstate(invalid="ignore"):
        known = (metres >= camera.near) & (metres <= camera.far)
    return np.where(known, metres, np.float32(0))[..., None]


def _is_time(value: Any) -> bool:
    """Returns whether a time stamp can be compared."""
    return isinstance(value, Real)


class FrameStack:
    """Keeps the last F pictures of every camera of a contract."""

    def __init__(
        self, contract: PolicyContract, warps: Mapping[str, CameraWarp] | None = None
    ) -> None:
        """Starts with none; ``warps`` by camera turn a picture into that of the model's camera."""
        self._warps = dict(warps or {})
        self._cameras = {c.name: c for c in contract.cameras}
        self._kept: dict[str, deque[np.ndarray]] = {
            c.name: deque(maxlen=c.frames) for c in contract.cameras
        }
        self._newest_s: dict[str, float] = {}

    def push(
        self,
        images: Mapping[str, np.ndarray],
        taken_s: Mapping[str, float],
        latest_s: float = math.inf,
    ) -> dict[str, np.ndarray]:
        """Adds what is new and returns `CameraSignal.shape` per camera, the newest picture first.

        Until a camera has taken F pictures, its first one stands in for those before it, as in
        simulation. A picture that has been seen before (by its time) does not count again.

        Args:
            images: camera name -> (H, W, 3) uint8, or (H, W) of a depth camera.
            taken_s: camera name -> when it was taken, s.
            latest_s: the latest stamp that is believed, s. A picture of the future is the guard's
                to answer; kept, it would be the newest for ever, and all that follow it old.
        """
        for name in self._kept.keys() & images.keys():
            kept, now_s = self._kept[name], taken_s.get(name, 0.0)
            if not is_picture(self._cameras[name], images[name]) or not _is_time(now_s):
                continue  # the guard answers this
            if now_s <= latest_s and (not kept or now_s > self._newest_s[name]):
                self._newest_s[name] = now_s
                missing = (kept.maxlen or 1) - 1 if not kept else 0
                picture = as_read(self._cameras[name], images[name])
                if name in self._warps:
                    picture = self._warps[name](picture)
                kept.extend([picture] * missing)
                kept.appendleft(picture)
        return {
            name: kept[0] if len(kept) == 1 else np.concatenate(kept, axis=-1)
            for name, kept in self._kept.items()
            if kept
        }
