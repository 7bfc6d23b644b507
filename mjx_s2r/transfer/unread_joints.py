"""Joints that no recording reads: where they follow from those that are read, and where not.

A joint that an equality of two joints ties to one that is read goes where the polynomial says
(MuJoCo: XML reference, equality/joint): a finger that mimics the other one. All others stay at
qpos0. For a free or ball joint under joints that are read that is no robot: the trunk of a walking
robot would fall anew, from where the model has it, in every window. It knows no jax.
"""

from collections.abc import Collection

import mujoco
import numpy as np

HINGE, SLIDE = int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE)
TURNS = 30  # of Newton's method, where a tie is followed backward
NEAR = 1e-9  # rad or m, how exactly it must be met


def read_hinges(mj_model: mujoco.MjModel, names: Collection[str]) -> list[int]:
    """Returns the hinges and slides of these names; other names are left out."""
    return [
        j
        for j in range(mj_model.njnt)
        if mj_model.joint(j).name in names and int(mj_model.jnt_type[j]) in (HINGE, SLIDE)
    ]


def follow_ties(
    mj_model: mujoco.MjModel,
    read: Collection[int],
    qpos: np.ndarray,
    qvel: np.ndarray | None = None,
    qpos0: np.ndarray | None = None,
) -> None:
    """Puts joints that an equality ties to read ones where it says, in place.

    Of q1 - q1_0 = p(q2 - q2_0), q1 follows where q2 is read, and q2 where q1 is; so on along a
    chain of ties. Backward, a polynomial that does not reach q1 leaves q2 where it was.

    Args:
        mj_model: with the equalities.
        read: joints whose positions are right already.
        qpos: (N, nq) positions.
        qvel: (N, nv) speeds that follow as well; None for none.
        qpos0: (nq,) or (N, nq) rest of the joints; None for the model's.
    """
    rest = np.broadcast_to(mj_model.qpos0 if qpos0 is None else qpos0, qpos.shape)
    known, left = set(map(int, read)), _ties(mj_model)
    while left:
        ready = [e for e in left if e[1] < 0 or (e[0] in known) != (e[1] in known)]
        if not ready:
            return
        first, second, numbers = ready[0]
        left.remove(ready[0])
        to = int(mj_model.jnt_qposadr[first])
        if second < 0:
            if first not in known:
                qpos[:, to] = rest[:, to] + numbers[0]
            known.add(first)
            continue
        source, slope = int(mj_model.jnt_qposadr[second]), np.polynomial.polynomial.polyder(numbers)
        if first in known:
            away = _inverse(numbers, qpos[:, to] - rest[:, to])
            found = np.isfinite(away)
            qpos[found, source] = rest[found, source] + away[found]
        else:
            away = qpos[:, source] - rest[:, source]
            qpos[:, to] = rest[:, to] + np.polynomial.polynomial.polyval(away, numbers)
        if qvel is not None:
            rate = np.polynomial.polynomial.polyval(np.nan_to_num(away), slope)
            one, two = int(mj_model.jnt_dofadr[first]), int(mj_model.jnt_dofadr[second])
            if first in known:
                turns = found & (rate != 0)
                qvel[turns, two] = qvel[turns, one] / rate[turns]
            else:
                qvel[:, one] = rate * qvel[:, two]
        known |= {first, second}


def _ties(mj_model: mujoco.MjModel) -> list[tuple[int, int, np.ndarray]]:
    """Returns the active equalities of joints: first, second (-1 for none), coefficients (5,)."""
    kept = (mj_model.eq_type == int(mujoco.mjtEq.mjEQ_JOINT)) & mj_model.eq_active0.astype(bool)
    return [
        (int(mj_model.eq_obj1id[e]), int(mj_model.eq_obj2id[e]), np.array(mj_model.eq_data[e, :5]))
        for e in np.flatnonzero(kept)
    ]


def _inverse(numbers: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Returns (N,) where a polynomial has the values (N,), from zero on; NaN where nowhere."""
    poly, slope = np.polynomial.Polynomial(numbers), np.polynomial.Polynomial(numbers).deriv()
    at = np.zeros_like(value)
    with np.errstate(all="ignore"):
        for _ in range(TURNS):
            at = at - (poly(at) - value) / slope(at)
        return np.where(np.abs(poly(at) - value) < NEAR, at, np.nan)


def unread_carriers(mj_model: mujoco.MjModel, read: Collection[int]) -> list[int]:
    """Returns the joints that carry read ones, and that neither a reading nor a tie places.

    A free joint whose body an active weld holds to what stands still is placed by that.

    Args:
        mj_model: of the robot.
        read: joints whose positions are read.
    """
    placed = set(map(int, read))
    while True:  # whatever hangs together by ties with what is read
        more = (
            {
                j
                for first, second, _ in _ties(mj_model)
                for j in (first, second)
                if second < 0 or {first, second} & placed
            }
            - placed
            - {-1}
        )
        if not more:
            break
        placed |= more
    carrying: set[int] = set()
    for joint in read:
        body = int(mj_model.jnt_bodyid[joint])
        while body:
            carrying.add(body)
            body = int(mj_model.body_parentid[body])
    return [
        j
        for j in range(mj_model.njnt)
        if int(mj_model.jnt_bodyid[j]) in carrying
        and j not in placed
        and not _is_held(mj_model, int(mj_model.jnt_bodyid[j]))
    ]


def _is_held(mj_model: mujoco.MjModel, body: int) -> bool:
    """Returns whether an active weld ties a body to one that stands still."""
    welds = (mj_model.eq_type == int(mujoco.mjtEq.mjEQ_WELD)) & mj_model.eq_active0.astype(bool)
    welds &= mj_model.eq_objtype == int(mujoco.mjtObj.mjOBJ_BODY)
    for e in np.flatnonzero(welds):
        ends = [int(mj_model.eq_obj1id[e]), int(mj_model.eq_obj2id[e])]
        if body in ends and any(mj_model.body_weldid[b] == 0 for b in ends if b != body):
            return True
    return False


def is_floating(mj_model: mujoco.MjModel, joint: int) -> bool:
    """Returns whether a joint is free or a ball."""
    return int(mj_model.jnt_type[joint]) not in (HINGE, SLIDE)


def floating_words(mj_model: mujoco.MjModel, joint: int) -> tuple[str, str]:
    """Returns what cannot be known of a robot on an unread free or ball joint, and the remedy."""
    body = mj_model.body(int(mj_model.jnt_bodyid[joint])).name
    kind = "ball" if int(mj_model.jnt_type[joint]) == int(mujoco.mjtJoint.mjJNT_BALL) else "free"
    what = (
        f"the joints that are read hang on the {kind} joint of body {body!r}, which no log reads: "
        "where it was and how it moved is not known, so every window would let it fall from where "
        "the model has it, and rows would be fitted to that fall"
    )
    remedy = (
        f"hang the robot up or clamp {body!r} and move the joints in the air; then identify with "
        "a copy of the model that is held as well: --model COPY.xml without that joint, or a task "
        f'with <equality><weld body1="{body}"/></equality> and the body clear of the ground'
    )
    return what, remedy
