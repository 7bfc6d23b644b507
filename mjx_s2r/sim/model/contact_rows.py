"""Rows on what a geom brings into its contacts: whether they are felt there.

Of two geoms that touch, C MuJoCo makes one set of numbers (engine_collision_driver.c,
mj_contactParam; MJX follows it):

    priority    the geom of higher priority decides alone; else, of equal ones,
    condim      the larger
    friction    the larger, component by component
    solref      mixed by solmix where both are time constants, else the smaller
    solimp      mixed by solmix; a solmix of zero has no say

An explicit pair has numbers of its own, and hides those of its geoms. So a friction below that of
every geom that one can touch is not felt, whatever its row draws.
"""

from dataclasses import dataclass

import mujoco
import numpy as np

from mjx_s2r.sim.model.row_case import Case

SAME = 1e-6  # share by which two numbers may differ and count as one
NEEDED = (3, 4, 6)  # contact dimensions from which sliding, torsional and rolling friction act


def touching(mj_model: mujoco.MjModel) -> np.ndarray:
    """Returns (ngeom, ngeom) the condim of the contact of two geoms by their own numbers; 0: none.

    Of two geoms the one of higher priority decides, else the larger condim (MuJoCo: Contact
    parameters). Explicit pairs are left out: their numbers are not those of the geoms.
    """
    m, off = mj_model, mj_model.opt.disableflags
    bits = mujoco.mjtDisableBit
    if off & (bits.mjDSBL_CONTACT | bits.mjDSBL_CONSTRAINT):
        return np.zeros((m.ngeom, m.ngeom), int)
    weld = m.body_weldid[m.geom_bodyid]
    parent = m.body_weldid[m.body_parentid[weld]]
    meets = (m.geom_contype[:, None] & m.geom_conaffinity[None]) != 0
    apart = weld[:, None] != weld[None]
    if not off & bits.mjDSBL_FILTERPARENT:
        above = (parent[:, None] == weld[None]) & (weld[None] != 0)
        apart &= ~(above | above.T)
    body = m.geom_bodyid
    signature = (np.minimum.outer(body, body) << 16) + np.maximum.outer(body, body)
    apart &= ~np.isin(signature, m.exclude_signature)
    apart[m.pair_geom1, m.pair_geom2] = apart[m.pair_geom2, m.pair_geom1] = False
    rank, dim = m.geom_priority, m.geom_condim
    both = np.maximum(dim[:, None], dim[None])
    first = np.where(rank[:, None] > rank[None], dim[:, None], both)
    decided = np.where(rank[:, None] < rank[None], dim[None], first)
    return np.where((meets | meets.T) & apart, decided, 0)


def contact_dimensions(mj_model: mujoco.MjModel) -> np.ndarray:
    """Returns (ngeom,) the largest condim among the contacts that a geom can have; 0 for none."""
    return touching(mj_model).max(-1, initial=0)


def needs_contact(case: Case, dimensions: int = 1) -> None:
    """Refuses a contact row on geoms of which none has contacts of that many dimensions.

    Raises:
        ModelError: names the row, the geom and the remedy.
    """
    m = case.mj_model
    if m.opt.enableflags & mujoco.mjtEnableBit.mjENBL_OVERRIDE:
        raise case.error(
            case.first,
            'the flag override="enable" gives all contacts the numbers of <option>. Drop the row, '
            "or the flag",
        )
    most = contact_dimensions(m)
    if (most[case.chosen] >= dimensions).any():
        return
    if most[case.first] == 0 and case.first in (*m.pair_geom1, *m.pair_geom2):
        raise case.error(
            case.first,
            "its contacts are explicit pairs, which have numbers of their own. Remove the pair "
            "from the MuJoCo model, or drop the row",
        )
    if most[case.first] == 0:
        raise case.error(
            case.first,
            "it can touch nothing. Give it and another geom matching contype and conaffinity "
            "(explicit pairs have numbers of their own), or drop the row",
        )
    raise case.error(
        case.first,
        f"its contacts have condim {most[case.first]}, and this friction acts from condim "
        f'{dimensions} on. Write condim="{dimensions}" into the MuJoCo model, or drop the row',
    )


@dataclass(frozen=True)
class _Felt:
    """From which value on one geom's number is felt, and against whose.

    Attributes:
        geom: the geom.
        partner: the geom that it has to beat, or that decides alone.
        value: the partner's number; infinite where the partner has the higher priority.
        low: lowest number that the row gives the geom.
        high: highest.
    """

    geom: int
    partner: int
    value: float
    low: float
    high: float


def friction(case: Case) -> None:
    """Refuses friction that no contact takes, in all of the row's range or in its lower part.

    Raises:
        ModelError: names the row, the geom, the geom that decides and the remedy.
    """
    column = case.row.column
    needs_contact(case, 3 if column is None else NEEDED[column])
    columns = range(3) if column is None else (column,)
    geoms = [int(g) for g in np.flatnonzero(case.chosen)]
    found = [felt for c in columns for g in geoms for felt in _against(case, g, c)]
    if any(f.value <= f.low * (1 + SAME) for f in found):
        return
    best = min(found, key=lambda f: f.value)
    other = case.names[best.partner]
    rank = int(case.mj_model.geom_priority[best.partner]) + 1
    remedy = f'Write priority="{rank}" at the geom into the MuJoCo model'
    if best.value == np.inf:
        raise case.error(
            best.geom,
            f"{other!r}, which it touches, has the higher priority, and its friction alone counts. "
            f"{remedy}, or drop the row",
        )
    reason = f"of two geoms of one priority the larger friction counts, and {other!r} has"
    if best.value >= best.high:
        raise case.error(
            best.geom,
            f"it changes nothing up to {best.high:.4g}, since {reason} {best.value:.4g}. "
            f"{remedy}, or drop the row",
        )
    raise case.error(
        best.geom,
        f"from {best.low:.4g} to {best.value:.4g} it changes nothing, since {reason} "
        f"{best.value:.4g}. {remedy}, or keep it at {best.value:.4g} or more",
    )


def _against(case: Case, geom: int, column: int) -> list[_Felt]:
    """Returns what one geom's friction has to beat; nothing where no contact has that component."""
    m = case.mj_model
    partners = np.flatnonzero(touching(m)[geom] >= NEEDED[column])
    lowest = case.reach()[0][:, column]
    low, high = (float(end[geom, column]) for end in case.ends())
    out = []
    for p in partners:
        rank, other = m.geom_priority[geom], m.geom_priority[p]
        free = rank > other or (rank == other and case.edit.mask[p, column])
        value = -np.inf if free else np.inf if rank < other else float(lowest[p])
        out.append(_Felt(int(geom), int(p), value, low, high))
    return out


def softness(case: Case) -> None:
    """Refuses solref, solimp and restitution that no contact takes.

    Raises:
        ModelError: names the row, the geom, the geom that decides and the remedy.
    """
    needs_contact(case)
    pairs = [
        (int(g), int(p))
        for g in np.flatnonzero(case.chosen)
        for p in np.flatnonzero(touching(case.mj_model)[g])
    ]
    reasons = [_silenced(case, *pair) for pair in pairs]
    if None not in reasons:
        geom, reason = pairs[0][0], reasons[0]
        raise case.error(geom, str(reason))
    felt = [pair for pair, reason in zip(pairs, reasons, strict=True) if reason is None]
    if case.edit.array == "geom_solref" and case.row.column == 0:
        _too_short(case, felt)
    if case.edit.array == "geom_solimp" and case.row.column in (2, 3, 4):
        _level(case, felt)


def _share(m: mujoco.MjModel, geom: int, partner: int) -> float:
    """Returns the share of a geom's solref and solimp in a contact, 0 to 1."""
    if m.geom_priority[geom] != m.geom_priority[partner]:
        return float(m.geom_priority[geom] > m.geom_priority[partner])
    own, other = (float(m.geom_solmix[i]) for i in (geom, partner))
    if own < mujoco.mjMINVAL and other < mujoco.mjMINVAL:
        return 0.5
    return own / (own + other) if own >= mujoco.mjMINVAL else 0.0


def _silenced(case: Case, geom: int, partner: int) -> str | None:
    """Returns why a geom's softness does not count against another's; None where it does."""
    m, other = case.mj_model, case.names[partner]
    rank, above = m.geom_priority[geom], m.geom_priority[partner]
    remedy = f'Write priority="{above + 1}" at the geom into the MuJoCo model, or drop the row'
    if rank < above:
        return (
            f"{other!r}, which it touches, has the higher priority, and its numbers alone count. "
            f"{remedy}"
        )
    times = m.geom_solref[[geom, partner], 0]
    mixed = case.edit.array == "geom_solimp" or bool((times > 0).all())
    if mixed and _share(m, geom, partner) == 0:
        return (
            "its solmix is 0, so the numbers of what it touches alone count. Write "
            'solmix="1" at the geom into the MuJoCo model, or drop the row'
        )
    if rank > above or mixed or case.chosen[partner]:
        return None
    beaten = case.edit.array == "geom_restitution"
    if not beaten:
        columns = np.flatnonzero(case.edit.mask[geom])
        top, theirs = case.ends()[1][geom], case.reach()[1][partner]
        beaten = bool((top[columns] >= theirs[columns]).all())
    if not beaten:
        return None
    return (
        f"where a solref is given as stiffness and damping the smaller one counts, and {other!r} "
        f"has {m.geom_solref[partner].tolist()}. {remedy}"
    )


def _too_short(case: Case, pairs: list[tuple[int, int]]) -> None:
    """Refuses time constants of which MuJoCo makes two time steps (the flag refsafe)."""
    m = case.mj_model
    shortest = 2 * m.opt.timestep
    if case.off(mujoco.mjtDisableBit.mjDSBL_REFSAFE) or (m.geom_solref[:, 0] <= 0).any():
        return
    low, highest = case.ends()[0][:, 0], case.reach()[1][:, 0]
    mixed = [
        share * low[g] + (1 - share) * highest[p] for g, p in pairs for share in (_share(m, g, p),)
    ]
    if max(mixed) < shortest * (1 - SAME):
        raise case.error(
            pairs[0][0],
            f"a contact's time constant falls to {max(mixed):.4g} s, and below two time steps "
            f"({shortest:.4g} s) MuJoCo takes two time steps. Raise the row's low limit, or "
            "shorten the model's timestep",
        )


def _level(case: Case, pairs: list[tuple[int, int]]) -> None:
    """Refuses the shape of an impedance that is the same at every depth, or linear in it.

    getimpedance in engine_core_constraint.c: equal ends, or no width, leave one number; a power of
    one needs no midpoint.
    """
    m, shape = case.mj_model, (2, 3, 4)
    moved = np.logical_or.reduce([edit.mask for edit in case.edits])
    ends, width, bend = [], [], []
    for g, p in pairs:
        share = _share(m, g, p)
        mixed = share * m.geom_solimp[g] + (1 - share) * m.geom_solimp[p]
        either = moved[g] | moved[p]
        ends.append(abs(mixed[0] - mixed[1]) > SAME or either[:2].any())
        width.append(mixed[2] > mujoco.mjMINVAL or either[2])
        bend.append(mixed[4] > 1 or either[4])
    able = np.array(ends) & np.array(width)
    if not able.any():
        raise case.error(
            pairs[0][0],
            "its solimp has equal ends or no width, so its width, midpoint and power (columns "
            f"{shape}) have no effect. Write solimp with dmin below dmax, or drop the row",
        )
    if case.row.column == 3 and not (able & np.array(bend)).any():
        raise case.error(
            pairs[0][0],
            "its solimp has power 1, so its midpoint has no effect. Write a power of 2, or drop "
            "the row",
        )
