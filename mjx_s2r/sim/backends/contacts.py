"""Contacts that MJX drops without a message: how many a model can lose, how many a state does.

MJX on jax computes every pair of geoms that may touch, unless the model carries the custom numbers
max_geom_pairs (pairs of each kind that go on from a broad phase) or max_contact_points (contacts of
each dimension). Then the farthest are left out, silently: harmless as long as no more really touch.
While a training runs, `full` looks at each physics step of a model whose limits can drop contacts
for a world that has no room for one more. With impl="warp" other limits hold: see
mjx_s2r/sim/backends/warp.py.
"""

import copy
import warnings
from collections import Counter
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx
from mujoco.mjx._src import collision_driver as driver  # the public modules do not tell

LIMITS = ("max_geom_pairs", "max_contact_points")


@dataclass(frozen=True)
class Room:
    """Numbers of contacts that a model has room for.

    Attributes:
        limits: the custom numbers it carries.
        kept: contacts that MJX computes at most.
        possible: contacts it would compute without those numbers.
    """

    limits: dict[str, int]
    kept: int
    possible: int


@dataclass(frozen=True, eq=False)
class Gauge:
    """Limits of a model that can drop contacts.

    Attributes:
        points: (first, last) of each run of MJX's list of contacts that max_contact_points has cut.
        pairs: geoms (P, 2), and how many of these pairs max_geom_pairs keeps, for each kind of
            pair that it has cut.
        margin: m, the largest distance at which a pair counts as touching.
    """

    points: tuple[tuple[int, int], ...]
    pairs: tuple[tuple[np.ndarray, int], ...]
    margin: float


def _without(mj_model: mujoco.MjModel, names: tuple[str, ...]) -> mujoco.MjModel:
    """Returns a copy of a model in which the limits called ``names`` do not hold."""
    free = copy.copy(mj_model)
    for name in names:
        index = mujoco.mj_name2id(mj_model, mujoco.mjtObj.mjOBJ_NUMERIC, name)
        if index >= 0:
            free.numeric_data[int(mj_model.numeric_adr[index])] = -1
    return free


def _limits(mj_model: mujoco.MjModel) -> dict[str, int]:
    """Returns the limits that a model carries."""
    index = {n: mujoco.mj_name2id(mj_model, mujoco.mjtObj.mjOBJ_NUMERIC, n) for n in LIMITS}
    address = {n: int(mj_model.numeric_adr[i]) for n, i in index.items() if i >= 0}
    return {name: int(mj_model.numeric_data[at]) for name, at in address.items()}


def room(mj_model: mujoco.MjModel) -> Room:
    """Returns how many contacts MJX computes, and how many it could."""
    free = _without(mj_model, LIMITS)
    kept, possible = driver.make_condim(mj_model), driver.make_condim(free)
    return Room(_limits(mj_model), len(kept), len(possible))


def gauge(mj_model: mujoco.MjModel) -> Gauge | None:
    """Returns where a model's own limits can drop contacts; None where they cannot."""
    if room(mj_model).kept == room(mj_model).possible:
        return None
    kept = Counter(driver.make_condim(mj_model).tolist())
    whole = Counter(driver.make_condim(_without(mj_model, ("max_contact_points",))).tolist())
    points, first = [], 0
    for dimensions in sorted(kept):
        last = first + kept[dimensions]
        if kept[dimensions] < whole[dimensions]:
            points.append((first, last))
        first = last
    most = _limits(mj_model).get("max_geom_pairs", -1)
    groups = driver._geom_groups(mj_model).items() if most >= 0 else ()
    culled = [ids for kind, ids in groups if not set(kind.types) & driver._GEOM_NO_BROADPHASE]
    pairs = [(np.array(ids)[:, :2], most) for ids in culled if len(ids) > most]
    margin = max(2 * mj_model.geom_margin.max(initial=0), mj_model.pair_margin.max(initial=0))
    return Gauge(tuple(points), tuple(pairs), float(margin))


def full(limits: Gauge, model: mjx.Model, data: mjx.Data) -> jax.Array:
    """Returns () bool: the step that made ``data`` had no room for one more contact.

    False proves that no touching contact was dropped: MJX keeps the nearest contacts, so all that
    are kept touch where one that touches is dropped; and it keeps the pairs with the nearest
    bounding spheres, so more of these overlap than are kept. True says only that it can be.
    """
    contact, found = data._impl.contact, []
    for first, last in limits.points:
        found.append((contact.dist[first:last] < limits.margin).all())
    for pairs, most in limits.pairs:
        one, two = data.geom_xpos[pairs.T]
        reach = model.geom_rbound[pairs[:, 0]] + model.geom_rbound[pairs[:, 1]]
        near = jnp.linalg.norm(two - one, axis=-1) - reach < limits.margin
        found.append(near.sum() > most)
    return jnp.stack(found).any()


def most_contacts(mj_model: mujoco.MjModel) -> int:
    """Returns how many contacts, or pairs of geoms that come near, a model can have at once."""
    pairs = sum(1 for _ in driver.geom_pairs(mj_model))
    try:
        return max(pairs, len(driver.make_condim(_without(mj_model, LIMITS))))
    except ValueError:  # a pair that MJX on jax cannot collide
        return pairs * driver._MAX_NCON


def rows_of_contacts(mj_model: mujoco.MjModel) -> int:
    """Returns how many rows of constraints one contact has at most (MuJoCo: Friction cones)."""
    most = int(max(mj_model.geom_condim.max(initial=1), mj_model.pair_dim.max(initial=1)))
    pyramid = mj_model.opt.cone == mujoco.mjtCone.mjCONE_PYRAMIDAL
    return max(2 * (most - 1), 1) if pyramid else most


def warn_of_lost_contacts(mj_model: mujoco.MjModel) -> None:
    """Warns where a model's own limits can drop contacts; costs nothing when it runs."""
    found = room(mj_model)
    if found.kept < found.possible:
        named = " and ".join(f"{name}={value}" for name, value in found.limits.items())
        warnings.warn(
            f"the model's {named} keep {found.kept} of {found.possible} possible contacts; when "
            "more touch, MJX drops the farthest without a word. Raise the numbers, or look whether "
            "a training counts steps without room (full_contacts in its metrics)",
            RuntimeWarning,
            stacklevel=2,
        )
