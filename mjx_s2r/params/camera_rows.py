"""Rows of group "visual" by camera: its mounting, and which rows touch its pictures.

It knows no simulator and no jax.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mjx_s2r.params.param import Param, add
from mjx_s2r.params.space import ParamSpace, matching_elements

# Arrays of group "visual" that each camera has for itself; all others are the scene's
FRAME_ARRAYS = ("frame_delay_s", "frame_dropout", "frame_period_s")
DEPTH_ARRAYS = ("depth_near", "depth_far", "depth_noise", "depth_step", "depth_dropout")
COLOUR_ARRAYS = (
    *("exposure", "vignette", "white_balance", "colour_matrix", "hue", "brightness", "contrast"),
    *("saturation", "gamma", "shot_noise", "noise_std", "blur_px", "motion_px", "bits"),
)
LENS_ARRAYS = ("camera_pos", "camera_rot", "camera_fovy", "camera_centre", "camera_distortion")
CAMERA_ARRAYS = frozenset((*FRAME_ARRAYS, *DEPTH_ARRAYS, *COLOUR_ARRAYS, *LENS_ARRAYS))
TOBIN = "Tobin et al. 2017: free light from above, camera pushed about, 5 % focal length"


def camera_pose(
    name: str, *cameras: str, angle: float = 0.04, source: str = TOBIN
) -> tuple[Param, ...]:
    """Returns the seven rows of a camera's mounting: x, y, z, pitch, yaw, roll, fovy.

    Args:
        name: what the rows' names begin with.
        cameras: names of those that move, each the same way; none: all of the model.
        angle: limit of each angle to either side, rad.
        source: where the limits come from.
    """
    shift, turn, zoom = ({"unit": unit, "source": source} for unit in ("m", "rad", "deg"))
    return (
        *(
            add(f"{name}_{c}", "visual.camera_pos", cameras, (-0.02, 0.02), column=i, **shift)
            for i, c in enumerate("xyz")
        ),
        *(
            add(f"{name}_{c}", "visual.camera_rot", cameras, (-angle, angle), column=i, **turn)
            for i, c in enumerate(("pitch", "yaw", "roll"))
        ),
        add(f"{name}_fovy", "visual.camera_fovy", cameras, (-2.5, 2.5), **zoom),
    )


@dataclass(frozen=True)
class CameraRows:
    """The visual rows of one camera.

    Attributes:
        space: the table, its rows no longer bound to cameras by name.
        chosen: positions of the visual rows that touch this camera's pictures.
    """

    space: ParamSpace
    chosen: tuple[int, ...]


def rows_of_camera(space: ParamSpace, camera: str, known: Sequence[str]) -> CameraRows:
    """Returns the visual rows that touch the pictures of one camera.

    Rows on what belongs to a camera (`CAMERA_ARRAYS`) may name cameras, or patterns of their names,
    as their elements; without elements they touch every camera.

    Args:
        space: the table.
        camera: name of the camera.
        known: names that rows may use.

    Raises:
        ParamError: a row that names a camera that does not exist; the message lists near names.
    """
    rows, chosen = list(space.rows), []
    for index, row in enumerate(space.rows):
        if row.group != "visual":
            continue
        mine = True
        if row.array in CAMERA_ARRAYS and row.elements:
            found = {i for pattern in row.elements for i in matching_elements(row, pattern, known)}
            mine = camera in {known[i] for i in found}
            rows[index] = replace(row, elements=())
        if mine:
            chosen.append(index)
    return CameraRows(ParamSpace(tuple(rows)), tuple(chosen))
