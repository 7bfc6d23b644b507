"""Rows that push cameras about: place, angles and field of view of all of them or of some."""

from mjx_s2r.params import Param, add

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
