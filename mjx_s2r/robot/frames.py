"""The last pictures of each camera, for a policy that sees several at once."""

from collections import deque
from collections.abc import Mapping

import numpy as np

from mjx_s2r.contract import PolicyContract


class FrameStack:
    """Keeps the last F pictures of every camera of a contract."""

    def __init__(self, contract: PolicyContract) -> None:
        """Starts with none."""
        self._kept: dict[str, deque[np.ndarray]] = {
            c.name: deque(maxlen=c.frames) for c in contract.cameras
        }
        self._newest_s: dict[str, float] = {}

    def push(
        self, images: Mapping[str, np.ndarray], taken_s: Mapping[str, float]
    ) -> dict[str, np.ndarray]:
        """Adds what is new and returns (H, W, 3 F) uint8 per camera, the newest picture first.

        Until a camera has taken F pictures, its first one stands in for those before it, as in
        simulation. A picture that has been seen before (by its time) does not count again.

        Args:
            images: camera name -> (H, W, 3) uint8.
            taken_s: camera name -> when it was taken, s.
        """
        for name in self._kept.keys() & images.keys():
            kept, now_s = self._kept[name], taken_s.get(name, 0.0)
            if kept and kept[0].shape != images[name].shape:
                continue  # the guard stops the robot for this
            if not kept or now_s > self._newest_s[name]:
                self._newest_s[name] = now_s
                missing = (kept.maxlen or 1) - 1 if not kept else 0
                kept.extend([images[name]] * missing)
                kept.appendleft(images[name])
        return {
            name: kept[0] if len(kept) == 1 else np.concatenate(kept, axis=-1)
            for name, kept in self._kept.items()
            if kept
        }
