"""Visual rows that would change nothing, or leave no picture: refused before training.

What leaves no picture is refused when a look is bound (`refuse_idle_looks`); what changes nothing
(`refuse_still_looks`), or nothing that the contract's cameras show (`refuse_unseen_rows`), when a
task is. Whether a camera ever sees what a row colours is not judged: that depends on where an
episode goes.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mjx_s2r.contract import CameraSignal
from mjx_s2r.params import Edit, Param, ParamError, ParamSpace, bounds
from mjx_s2r.params.camera_rows import (
    DEPTH_ARRAYS,
    FRAME_ARRAYS,
    LENS_ARRAYS,
    rows_of_camera,
)
from mjx_s2r.render.geometry.scene import Light

WITHOUT = {"light_pos": "directional", "light_dir": "point"}  # kind of light that has none
INSTEAD = {"light_pos": "light_dir", "light_dir": "light_pos"}
SHAPES = ("geom_shown", "geom_offset")  # arrays of the scene that depth shows, too

# What of an array's value acts, where that is not the value itself; L is the number of lights.
_ACTING: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "geom_shown": lambda x, lights: x > 0.5,
    "light_count": lambda x, lights: np.clip(np.ceil(x), 0, lights),
    "bits": lambda x, lights: np.minimum(np.round(2.0**x), 256),
}


def refuse_idle_looks(
    rows: Sequence[Param],
    edits: Sequence[Edit],
    nominal: Mapping[str, np.ndarray],
    lights: Sequence[Light],
) -> None:
    """Refuses rows on lights that are off or have no such thing, and depths that cross.

    Args:
        rows: the table.
        edits: its visual rows, bound.
        nominal: the look as written.
        lights: the L lights that are drawn.

    Raises:
        ParamError: names the row, the light and the remedy.
    """

    def reach(array: str) -> bounds.Reach:
        return bounds.reach(nominal[array], [e for e in edits if e.array == array], rows)

    dark = reach("light_strength")[1] <= 0
    lost = bounds.may_vanish(reach("light_dir"))
    nearest, farthest = float(reach("depth_near")[1]), float(reach("depth_far")[0])
    for edit in edits:
        row = rows[edit.row]
        where = f"parameter {row.name!r}: {row.field}"
        if edit.array.startswith("light_") and edit.mask.shape:
            touched = edit.mask.reshape(len(lights), -1).any(-1)
            chosen = [int(i) for i in np.flatnonzero(touched)]
            what = _idle_light(edit.array, [lights[i] for i in chosen], dark[chosen], lost[chosen])
            if what:
                raise ParamError(f"{where} of {lights[chosen[0]].name!r} {what}")
        if edit.array in ("depth_near", "depth_far") and nearest >= farthest:
            raise ParamError(
                f"{where} lets the nearest depth reach {nearest:.4g} m and the farthest "
                f"{farthest:.4g} m; narrow its limits so that they do not cross"
            )


def refuse_still_looks(
    rows: Sequence[Param],
    edits: Sequence[Edit],
    nominal: Mapping[str, np.ndarray],
    lights: Sequence[Light],
    names: Mapping[str, Sequence[str]],
    gloss: float,
) -> None:
    """Refuses rows that leave the look as it is, whatever they draw.

    Args:
        rows: the table.
        edits: its visual rows, bound.
        nominal: the look as written.
        lights: the L lights that are drawn.
        names: names of the elements of arrays that have some.
        gloss: strength of the brightest highlight on a surface.

    Raises:
        ParamError: names the row, the element and the remedy.
    """
    worn = [edit for edit in edits if edit.array == "texture"]
    textured = bounds.reach(nominal["texture"], worn, rows)[1] > 0
    for edit in edits:
        row, named = rows[edit.row], names.get(edit.array, ())
        first = named[int(np.argwhere(edit.mask)[0][0])] if named else ""
        of = f" of {first!r}" if first else ""
        where = f"parameter {row.name!r}: {row.field}{of} changes nothing"
        if not _moves(edit, edits, rows, nominal, len(lights)):
            raise ParamError(
                f"{where}: the picture is the same at both ends of its limits {row.limits}; widen "
                "them, use mode 'set' where it scales zero, or drop the row"
            )
        if edit.array == "texture_m" and not (edit.mask.any(-1) & textured).any():
            raise ParamError(
                f"{where}, since no texture is there; add a row on 'visual.texture', or drop this "
                "one"
            )
        if edit.array == "specular" and gloss <= 0:
            raise ParamError(
                f"{where}, since no light of the model has highlights; write "
                'specular="0.3 0.3 0.3" at a light, or drop the row'
            )


def _moves(
    edit: Edit,
    edits: Sequence[Edit],
    rows: Sequence[Param],
    nominal: Mapping[str, np.ndarray],
    lights: int,
) -> bool:
    """Returns whether what acts of an array differs between the ends of a row's limits."""
    mine = [e for e in edits if e.array == edit.array]
    ends = [
        bounds.reach(nominal[edit.array], mine, rows, {edit.row: x}) for x in rows[edit.row].limits
    ]
    acting = _ACTING.get(edit.array, lambda x, lights: x)
    pairs = zip(*([acting(x, lights) for x in end] for end in ends), strict=True)
    return any((low != high)[edit.mask].any() for low, high in pairs)


def refuse_unseen_rows(
    space: ParamSpace, cameras: Sequence[CameraSignal], known: Sequence[str]
) -> None:
    """Refuses visual rows that no picture of a contract shows.

    Args:
        space: the table.
        cameras: of the contract, at least one.
        known: names of the model's cameras.

    Raises:
        ParamError: names the row, what is missing and the remedy.
    """
    chosen = {c.name: rows_of_camera(space, c.name, known).chosen for c in cameras}
    for index, row in enumerate(space.rows):
        if row.group != "visual":
            continue
        where = f"parameter {row.name!r}: {row.field}"
        seen = [c for c in cameras if index in chosen[c.name]]
        if not seen:
            raise ParamError(
                f"{where} of camera {row.elements[0]!r} changes nothing, since the contract has "
                f"{[c.name for c in cameras]}; name one of those, or add the camera"
            )
        kinds = {c.kind for c in seen}
        if row.array in DEPTH_ARRAYS and "depth" not in kinds:
            raise ParamError(
                f"{where} changes nothing, since no depth camera is in the contract; write "
                "CameraSignal(..., kind='depth', near=0.1, far=2.0), or drop the row"
            )
        free = (*DEPTH_ARRAYS, *FRAME_ARRAYS, *LENS_ARRAYS, *SHAPES)
        if row.array not in free and "rgb" not in kinds:
            raise ParamError(
                f"{where} changes nothing, since depth cameras see no colour; drop the row, or add "
                "a colour camera to the contract"
            )
        idle = [c for c in seen if c.kind == "depth" and _out_of_range(row, c)]
        if idle and len(idle) == len([c for c in seen if c.kind == "depth"]):
            raise ParamError(
                f"{where} changes nothing within its limits {row.limits}, since camera "
                f"{idle[0].name!r} answers from {idle[0].near:g} to {idle[0].far:g} m only; move "
                "the limits inside, or widen the camera's near and far"
            )


def _out_of_range(row: Param, camera: CameraSignal) -> bool:
    """Returns whether a row on the depths answered stays beyond what the camera answers."""
    if row.mode != "set":
        return False
    if row.array == "depth_near":
        return row.limits[1] <= camera.near
    return row.array == "depth_far" and row.limits[0] >= camera.far


def _idle_light(
    array: str, lights: Sequence[Light], dark: np.ndarray, lost: np.ndarray
) -> str | None:
    """Returns what is wrong with a row on some lights, of which some are dark; None if nothing."""
    if dark.all() and array != "light_strength":
        return (
            "changes nothing, since that light is off; add a row on 'visual.light_strength', or "
            "drop this one"
        )
    if array == "light_softness" and not any(light.shadow for light in lights):
        return (
            "changes nothing, since that light casts no shadow; write castshadow, or drop the row"
        )
    if {light.kind for light in lights} == {WITHOUT.get(array)}:
        return (
            f"changes nothing, since that is a {WITHOUT[array]} light; use "
            f"'visual.{INSTEAD[array]}'"
        )
    if array == "light_dir" and lost.any():
        return (
            "may be zero in all components within its limits, which is no direction; narrow them "
            "so that one component keeps its sign"
        )
    return None
