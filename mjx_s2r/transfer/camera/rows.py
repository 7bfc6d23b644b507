"""The rows that a calibration of a camera fits: those of the task's table, or ones made for it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import mujoco
import numpy as np

from mjx_s2r.params import Param, ParamSpace, Range, unknown
from mjx_s2r.params.camera_rows import CAMERA_ARRAYS, rows_of_camera
from mjx_s2r.render.looks.appearance import nominal_look
from mjx_s2r.robot.camera_warp import CameraCalibration, Lens
from mjx_s2r.sim.model.fields import element_names


@dataclass(frozen=True)
class _Slot:
    """One number of a camera: its array and column, its usual name, and how far it is searched."""

    array: str
    column: int | None
    name: str
    reach: float
    unit: str


PLACE = tuple(_Slot("camera_pos", i, axis, 0.05, "m") for i, axis in enumerate("xyz"))
TURN = tuple(
    _Slot("camera_rot", i, axis, 0.1, "rad") for i, axis in enumerate(("pitch", "yaw", "roll"))
)
FIELD = (_Slot("camera_fovy", None, "fovy", 5.0, "deg"),)
CENTRE = tuple(
    _Slot("camera_centre", i, f"centre_{axis}", 0.05, "1") for i, axis in enumerate("xy")
)
BEND = (_Slot("camera_distortion", 0, "k1", 0.3, "1"),)


def camera_space(
    space: ParamSpace,
    mj_model: mujoco.MjModel,
    camera: str,
    *,
    distortion: bool = False,
    centre: bool = False,
    others: Sequence[str] = (),
) -> ParamSpace:
    """Returns the rows of a camera's place, turn and lens, with limits to search in.

    A row of the table that adds to the same number is taken under its name, its limits widened to
    what a mounted camera may be off by; where the table has none, one is made. So it is where the
    table's row moves another camera as well, for what is found holds for this one alone.

    Args:
        space: the task's table.
        mj_model: the model.
        camera: name of the camera.
        distortion: whether k1 of the lens is fitted.
        centre: whether the optical centre is fitted.
        others: further cameras of the policy.

    Raises:
        ParamError: no such camera, or a row of the table that names another one that is not there.
    """
    known = element_names(mj_model, "camera")
    if camera not in known:
        raise unknown("camera", camera, [name for name in known if name])
    mine = alone_of_camera(space, camera, known, others)
    slots = (*PLACE, *TURN, *FIELD, *(CENTRE * centre), *(BEND * distortion))
    found = [_row(slot, camera, [space.rows[i] for i in mine]) for slot in slots]
    return ParamSpace(tuple(own_name(space, row) for row in found))


def alone_of_camera(
    space: ParamSpace, camera: str, known: Sequence[str], others: Sequence[str]
) -> tuple[int, ...]:
    """Returns the visual rows of one camera, less those that change what other cameras are.

    Args:
        space: the table.
        camera: name of the camera.
        known: names of the model's cameras.
        others: cameras of the policy; this one may be among them.

    Raises:
        ParamError: a row that names a camera that does not exist.
    """
    shared = shared_by_cameras(space, camera, known, others)
    return tuple(i for i in rows_of_camera(space, camera, known).chosen if i not in shared)


def shared_by_cameras(
    space: ParamSpace, camera: str, known: Sequence[str], others: Sequence[str]
) -> tuple[int, ...]:
    """Returns the rows on what belongs to a camera that act on this one and on another of these."""
    mine = set(rows_of_camera(space, camera, known).chosen)
    more = {
        i for other in others if other != camera for i in rows_of_camera(space, other, known).chosen
    }
    return tuple(i for i in sorted(mine & more) if space.rows[i].array in CAMERA_ARRAYS)


def shared_words(space: ParamSpace, camera: str, others: Sequence[str], known: list[str]) -> str:
    """Returns what it means that rows of the table act on several cameras; "" where none does."""
    names = [space.rows[i].name for i in shared_by_cameras(space, camera, known, others)]
    if not names:
        return ""
    return (
        f"{', '.join(names[:3])}{' ...' if len(names) > 3 else ''} of the table act on "
        f"{', '.join(dict.fromkeys((camera, *others)))} alike, so what was found has names of its "
        f"own: the robot's {camera} takes it (camera.json), a training does not; write a row for "
        f"each camera into the table, elements = ({camera!r},), to train from it"
    )


def own_name(space: ParamSpace, row: Param) -> Param:
    """Returns a row that was made, under a name that no other row of the table has."""
    taken = {one.name for one in space.rows if (one.array, one.column) != (row.array, row.column)}
    taken |= {one.name for one in space.rows if one.elements != row.elements}
    return row if row.name not in taken else replace(row, name=f"{row.name}_alone")


def _row(slot: _Slot, camera: str, rows: list[Param]) -> Param:
    """Returns the row of one number."""
    near = (-slot.reach, slot.reach)
    for row in rows:
        if row.array == slot.array and row.column == slot.column and row.mode == "add":
            limits = _around(row.limits, near)
            return replace(row, limits=limits, initial=(0.0, 0.0), correlation="", rho=1.0)
    return Param(
        f"{camera}_{slot.name}",
        f"visual.{slot.array}",
        (camera,),
        column=slot.column,
        mode="add",
        nominal=0.0,
        initial=(0.0, 0.0),
        limits=near,
        unit=slot.unit,
        source="searched by train calibrate",
    )


def _around(one: Range, other: Range) -> Range:
    """Returns the range that holds both."""
    return min(one[0], other[0]), max(one[1], other[1])


def as_calibration(
    space: ParamSpace,
    xi: np.ndarray,
    interval: np.ndarray,
    mj_model: mujoco.MjModel,
    camera: str,
    size: tuple[int, int],
) -> CameraCalibration:
    """Returns what the rows' values say of a camera, for the robot.

    Args:
        space: the rows, of `camera_space`.
        xi: (D,) their values.
        interval: (D, 2) their intervals.
        mj_model: the model.
        camera: name of the camera.
        size: height and width of the pictures, px.
    """
    look = nominal_look(mj_model, camera)
    found = {name: np.array(look[name], float) for name in look if name.startswith("camera_")}
    plain = {name: value.copy() for name, value in found.items()}
    for row, value in zip(space.rows, xi, strict=True):
        if row.array in found:
            found[row.array][... if row.column is None else row.column] += value
    ends = {
        row.name: tuple(map(float, pair)) for row, pair in zip(space.rows, interval, strict=True)
    }
    return CameraCalibration(
        camera=camera,
        height=size[0],
        width=size[1],
        nominal=_lens(plain),
        measured=_lens(found),
        offset_m=tuple(found["camera_pos"].tolist()),
        turn_rad=tuple(found["camera_rot"].tolist()),
        interval={name: (low, high) for name, (low, high) in ends.items()},
    )


def _lens(arrays: dict[str, np.ndarray]) -> Lens:
    """Returns the lens in the arrays of a look."""
    right, up = arrays["camera_centre"].tolist()
    k1, k2 = arrays["camera_distortion"].tolist()
    return Lens(float(arrays["camera_fovy"]), (right, up), (k1, k2))
