"""Contacts that MJX drops without a word: how many a model can lose, and how many a state does.

MJX on jax computes every pair of geoms that may touch, unless the model carries the custom numbers
max_geom_pairs (pairs of each kind that go on from a broad phase) or max_contact_points (contacts of
each dimension). Then the farthest are left out, silently: harmless as long as no more really touch.
With impl="warp" the bounds are naconmax and njmax, and MuJoCo Warp prints what it drops.
"""

import copy
import warnings
from collections import Counter
from dataclasses import dataclass

import mujoco
import numpy as np
from mujoco.mjx._src.collision_driver import make_condim  # the public modules do not tell

LIMITS = ("max_geom_pairs", "max_contact_points")


@dataclass(frozen=True)
class Room:
    """What a model has room for.

    Attributes:
        limits: the custom numbers it carries.
        kept: contacts that MJX computes at most.
        possible: contacts it would compute without those numbers.
    """

    limits: dict[str, int]
    kept: int
    possible: int


def room(mj_model: mujoco.MjModel) -> Room:
    """Returns how many contacts MJX computes, and how many it could."""
    free = copy.copy(mj_model)
    limits = {}
    for name in LIMITS:
        index = mujoco.mj_name2id(mj_model, mujoco.mjtObj.mjOBJ_NUMERIC, name)
        if index >= 0:
            address = int(mj_model.numeric_adr[index])
            limits[name] = int(mj_model.numeric_data[address])
            free.numeric_data[address] = -1
    return Room(limits, len(make_condim(mj_model)), len(make_condim(free)))


def warn_of_lost_contacts(mj_model: mujoco.MjModel) -> None:
    """Warns where a model's own limits can drop contacts; costs nothing when it runs."""
    found = room(mj_model)
    if found.kept < found.possible:
        named = " and ".join(f"{name}={value}" for name, value in found.limits.items())
        warnings.warn(
            f"the model's {named} keep {found.kept} of {found.possible} possible contacts; when "
            "more touch, MJX drops the farthest without a word. Check with contacts.lost_at, or "
            "raise the numbers",
            RuntimeWarning,
            stacklevel=2,
        )


def lost_at(mj_model: mujoco.MjModel, qpos: np.ndarray) -> int:
    """Returns how many touching contacts max_contact_points drops in the posture ``qpos`` (nq,).

    C MuJoCo, which has no such limit, counts them.
    """
    most = room(mj_model).limits.get("max_contact_points", -1)
    if most < 0:
        return 0
    data = mujoco.MjData(mj_model)
    data.qpos[:] = qpos
    mujoco.mj_forward(mj_model, data)
    touching = Counter(int(c.dim) for c in data.contact[: data.ncon] if c.dist < 0)
    return sum(max(count - most, 0) for count in touching.values())
