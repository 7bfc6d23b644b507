"""Visual rows that would change nothing, or leave no picture: refused when a look is bound."""

from collections.abc import Mapping, Sequence

import numpy as np

from mjx_s2r.params import Edit, Param, ParamError, bounds
from mjx_s2r.render.geometry.scene import Light

WITHOUT = {"light_pos": "directional", "light_dir": "point"}  # kind of light that has none
INSTEAD = {"light_pos": "light_dir", "light_dir": "light_pos"}


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


def _idle_light(
    array: str, lights: Sequence[Light], dark: np.ndarray, lost: np.ndarray
) -> str | None:
    """Returns what is wrong with a row on some lights, of which some are dark; None if nothing."""
    if dark.all() and array != "light_strength":
        return (
            "changes nothing, since that light is off; add a row on 'visual.light_strength', or "
            "drop this one"
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
