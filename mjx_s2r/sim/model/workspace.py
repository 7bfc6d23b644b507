"""Where a point of a robot can go: places for targets that it can reach, because it was there."""

import mujoco
import numpy as np

from mjx_s2r.drives import resolve
from mjx_s2r.sim.backends.physics_config import ModelError
from mjx_s2r.sim.model.model_contract import home_qpos

TRIES = 60  # poses drawn for each point that is wanted, at most
LEAST = 8  # points below which there is no workspace
MARGIN = 0.9  # share of half the picture, from its middle, in which a point counts as seen


def reachable_points(
    mj_model: mujoco.MjModel,
    site: str,
    joints: tuple[str, ...],
    *,
    share: float = 0.5,
    lowest: float = -np.inf,
    highest: float = np.inf,
    camera: str = "",
    count: int = 512,
    seed: int = 0,
) -> np.ndarray:
    """Returns (K, 3) places of a site in random poses of some joints, m; K is at most ``count``.

    Poses in which more touches than at home are left out.

    Args:
        mj_model: the model.
        site: name of the site.
        joints: the joints, as a contract names them; the others stay at home.
        share: how far each goes from home to either side, as a share of its range.
        lowest: least height of a place, m.
        highest: largest height of a place, m.
        camera: name of a camera that must see the place; empty for none.
        count: how many are wanted.
        seed: of the poses.

    Raises:
        ModelError: fewer than eight such places are found.
    """
    drives, rng = resolve(mj_model, joints), np.random.default_rng(seed)
    home, data = home_qpos(mj_model), mujoco.MjData(mj_model)
    data.qpos[:] = home
    mujoco.mj_fwdPosition(mj_model, data)
    touching, index = data.ncon, mj_model.site(site).id
    low, high = mj_model.jnt_range[drives.joints].T
    free = mj_model.jnt_limited[drives.joints] == 0
    low, high = np.where(free, -np.pi, low), np.where(free, np.pi, high)
    spread = share * (high - low)
    found: list[np.ndarray] = []
    for _ in range(TRIES * count):
        data.qpos[:] = home
        pose = home[drives.qpos] + spread * rng.uniform(-1, 1, len(joints))
        data.qpos[drives.qpos] = np.clip(pose, low, high)
        mujoco.mj_fwdPosition(mj_model, data)
        place = data.site_xpos[index].copy()
        seen = not camera or _sees(data, mj_model.camera(camera).id, mj_model, place)
        if data.ncon <= touching and lowest <= place[2] <= highest and seen:
            found.append(place)
        if len(found) == count:
            break
    if len(found) < LEAST:
        where = f" that camera {camera!r} sees" if camera else ""
        raise ModelError(
            f"site {site!r} reaches {len(found)} places{where} from {lowest:g} to {highest:g} m "
            f"height in {TRIES * count} poses; take other heights, move the camera, or take a "
            "larger share"
        )
    return np.array(found, np.float32)


def _sees(data: mujoco.MjData, camera: int, mj_model: mujoco.MjModel, place: np.ndarray) -> bool:
    """Returns whether a square picture of a camera has a place well inside its edges."""
    seen = (place - data.cam_xpos[camera]) @ data.cam_xmat[camera].reshape(3, 3)
    edge = MARGIN * np.tan(np.deg2rad(mj_model.cam_fovy[camera]) / 2)
    return bool(seen[2] < 0 and (np.abs(seen[:2]) < -edge * seen[2]).all())


def widest_layer(points: np.ndarray, thickness: float, eye: np.ndarray) -> tuple[float, float]:
    """Returns the heights, m, between which points cover the most ground as it is seen.

    One picture says where a thing on a table is, and not how far a thing in the air is away. Ground
    counts by the sine of the angle at which it is looked at.

    Args:
        points: (K, 3) places, m.
        thickness: of the layer, m.
        eye: (3,) where they are looked at from, m.
    """
    heights = points[:, 2]
    best, widest = float(heights.min()), -1.0
    for lowest in np.linspace(heights.min(), max(heights.max() - thickness, heights.min()), 24):
        layer = points[(heights >= lowest) & (heights <= lowest + thickness)]
        if len(layer) < 3:
            continue
        spread = np.sqrt(max(np.linalg.det(np.cov(layer[:, :2].T)), 0.0))
        way = eye - layer.mean(0)
        area = len(layer) * spread * abs(way[2]) / max(float(np.linalg.norm(way)), 1e-9)
        if area > widest:
            best, widest = float(lowest), float(area)
    return best, best + thickness
