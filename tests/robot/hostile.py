"""Readings and answers that no driver and no policy should deliver, by name."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mjx_s2r.robot.driver import Reading


class Trap(Mapping[str, Any]):
    """A mapping that raises whatever is asked of it."""

    def __getitem__(self, key: str) -> Any:
        """Raises."""
        raise RuntimeError("trap")

    def __iter__(self) -> Any:
        """Raises."""
        raise RuntimeError("trap")

    def __len__(self) -> int:
        """Raises."""
        raise RuntimeError("trap")


VALUES: tuple[Any, ...] = (
    *(None, "text", [0.0, 0.0], (0.0, 0.0), {}, b"00", object(), True, 10**400, 1j, Trap()),
    *(np.array(["a", "b"]), np.array([None, None]), np.array([1j, 0]), np.array([True, False])),
    *(np.array([np.nan, 0.0]), np.array([np.inf, -np.inf]), np.array([1e300, 0.0])),
    *(np.zeros(3), np.zeros((1, 2)), np.float64(0.0), np.zeros(0), np.array([2**63, 0], np.uint64)),
    np.array(["2026-01-01", "2026-01-02"], "datetime64[D]"),
)
STAMPS: tuple[Any, ...] = (
    *(None, "now", [1.0], True, np.nan, np.inf, -np.inf, 10**400, 1j, object(), 1e300),
)


def _signal(value: Any) -> Callable[[Reading], Any]:
    return lambda r: replace(r, signals={**r.signals, "joint_pos": value})


def _stamp(value: Any) -> Callable[[Reading], Any]:
    return lambda r: replace(r, time_s=value)


def _image(value: Any) -> Callable[[Reading], Any]:
    return lambda r: replace(r, images={"front": value})


def _image_stamp(value: Any) -> Callable[[Reading], Any]:
    return lambda r: replace(r, image_time_s={"front": value})


def _part(name: str, value: Any) -> Callable[[Reading], Any]:
    return lambda r: replace(r, **{name: value})


def _whole(value: Any) -> Callable[[Reading], Any]:
    return lambda r: value


PARTS = ("signals", "images", "image_time_s")
SPOILT: tuple[Callable[[Reading], Any], ...] = (
    *map(_signal, VALUES),
    *map(_stamp, STAMPS),
    *(_part(name, value) for name in PARTS for value in (None, 3, [], "x", np.zeros(2))),
    _part("signals", Trap()),
    *map(_whole, (None, "text", 7, [], {}, object())),
)
SPOILT_PICTURES: tuple[Callable[[Reading], Any], ...] = (
    *map(_image, (*VALUES, np.zeros((8, 6), np.uint8), np.zeros((3, 8, 6), np.uint8))),
    *map(_image_stamp, STAMPS),
    _part("images", Trap()),
    _part("image_time_s", Trap()),
)
EMERGENCIES: tuple[Any, ...] = (True, np.True_, None, "no", 1, [], np.zeros(2), np.nan)
