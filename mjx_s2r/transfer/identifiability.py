"""What logs can tell of the rows: how well each is seen, which are only seen together, and by what.

It looks at the information of a linearization, so it serves before a search, at the nominal values
or at several points, and after it. A row is unseen where the logs, all other rows known, would
leave it more than half of what the limits allow. Rows are seen only together where the information
in all, that of the limits with it, has a principal value below `TIED` once its diagonal is scaled
to ones (0.05 is that of a pair with a correlation of 0.95): rows that owe their deviations to those
directions make up a group (variance proportions; Belsley, Kuh and Welsch 1980, Regression
Diagnostics, ch. 3).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mjx_s2r.params import ParamSpace
from mjx_s2r.transfer.information import ROUGH, Information, information_of
from mjx_s2r.transfer.linearization import Linearization
from mjx_s2r.transfer.noise import Noise, white_noise
from mjx_s2r.transfer.unit_coordinates import values_at

PRIOR = 12.0  # information of a uniform law on [0, 1]: one over its variance
ENOUGH = 3 * PRIOR  # of a row, from which its deviation is half that of the limits
TIED = 0.05
PART = 0.3  # of two rows' deviations that they share in such directions, from which they are tied
ALIKE = 1.3  # ratio of two relative changes up to which they count as equal
SHOWN = 0.1  # how far, of the limits, the row that moves most goes in a sentence


class IdentifiabilityError(ValueError):
    """Logs that say nothing of what is asked for; the message names the rows and the remedy."""


@dataclass(frozen=True)
class Group:
    """Rows that are only seen together.

    Attributes:
        rows: their names, in table order.
        words: which change of them all leaves the readings as they are, as a sentence.
    """

    rows: tuple[str, ...]
    words: str


@dataclass(frozen=True, eq=False)
class Identifiability:
    """What logs can tell of D rows.

    Attributes:
        rows: (D,) names.
        left: (D,) deviation that the logs leave, as a share of that of the limits; 1: nothing seen.
        unseen: rows of which the logs say next to nothing.
        groups: rows that are only seen together.
        condition: largest over smallest principal value of the scaled information of seen rows.
        channel: (C, D) share of each channel in what is known of a row; zero if unseen.
        recording: (R, D) share of each recording, in rising order of their numbers.
    """

    rows: tuple[str, ...]
    left: np.ndarray
    unseen: tuple[str, ...]
    groups: tuple[Group, ...]
    condition: float
    channel: np.ndarray
    recording: np.ndarray

    def require(self) -> None:
        """Refuses logs that say nothing of any row.

        Raises:
            IdentifiabilityError: all rows are unseen.
        """
        if len(self.unseen) == len(self.rows):
            raise IdentifiabilityError(
                f"the logs say nothing of {', '.join(self.rows)}: no reading changes with them by "
                "more than its noise; record motions in which they act (faster, further, under "
                "load), or ask for other rows"
            )


def check(
    linearizations: Sequence[Linearization],
    noise: Noise | None = None,
    windows: int | None = None,
) -> Identifiability:
    """Returns what logs can tell of the rows.

    Args:
        linearizations: of the same logs and rows, at one or several points; a row counts as unseen,
            and rows as a group, where they are at every point. Figures are of the first point.
        noise: of the readings; None: white, as the linearization has it.
        windows: of the logs, which a linearization of fewer stands for; None: as many as it has.
    """
    lin = linearizations[0]
    sizes = white_noise(lin.noise_std) if noise is None else noise
    found = [information_of(point, sizes) for point in linearizations]
    totals = [one.matrix.mean(0) * (windows or len(one.matrix)) for one in found]
    own = np.max([np.diag(total) for total in totals], axis=0)
    seen = own > ENOUGH
    ties = np.min([_ties(total) for total in totals], axis=0) > PART
    together, members = connected_components(coo_array(ties), directed=False)
    rows = [np.flatnonzero(seen & (members == k)) for k in range(together)]
    groups = tuple(_group(lin, totals[0], g) for g in rows if len(g) > 1)
    covariance = np.linalg.inv(totals[0] + PRIOR * np.eye(len(own)))
    return Identifiability(
        rows=lin.space.names,
        left=np.sqrt(PRIOR * np.diag(covariance)),
        unseen=tuple(n for n, s in zip(lin.space.names, seen, strict=True) if not s),
        groups=groups,
        condition=_condition(totals[0], seen),
        channel=_shares(found[0].channel, seen),
        recording=_shares(_by_recording(found[0]), seen),
    )


def _scaled(total: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns principal values (D,) and directions (D, D) of an information, diagonal at 1."""
    known = total - ROUGH * np.diag(np.diag(total)) + PRIOR * np.eye(len(total))
    size = np.sqrt(np.diag(known))
    values, vectors = np.linalg.eigh(known / size / size[:, None])
    return np.maximum(values, PRIOR / size.max() ** 2), vectors


def _ties(total: np.ndarray) -> np.ndarray:
    """Returns (D, D) how much of the deviation of two rows they share in weak directions, 0 to 1.

    That is their covariance in directions below `TIED`, over the deviations that they have in all.
    """
    values, vectors = _scaled(total)
    weak = vectors[:, values < TIED]
    covariance = vectors / values @ vectors.T
    size = np.sqrt(np.diag(covariance))
    return np.asarray(np.abs(weak / values[values < TIED] @ weak.T) / size / size[:, None])


def _condition(total: np.ndarray, seen: np.ndarray) -> float:
    """Returns the condition number of the scaled information of seen rows; 1 without one."""
    if not seen.any():
        return 1.0
    values, _ = _scaled(total[np.ix_(seen, seen)])
    return float(values[-1] / values[0])


def _by_recording(found: Information) -> np.ndarray:
    """Returns (R, D) the information of each recording on each row, start states eliminated."""
    own = np.einsum("wdd->wd", found.matrix)
    return np.stack([own[found.recording == r].sum(0) for r in np.unique(found.recording)])


def _shares(parts: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Returns parts (N, D) as shares of their sum over N, zero where a row is unseen."""
    total = parts.sum(0)
    return np.where(seen & (total > 0), parts / np.where(total > 0, total, 1.0), 0.0)


def _group(lin: Linearization, total: np.ndarray, rows: np.ndarray) -> Group:
    """Returns the group of ``rows`` (G,), the weakest direction among them in words."""
    way = np.linalg.eigh(total[np.ix_(rows, rows)])[1][:, 0]
    names = tuple(lin.space.names[i] for i in rows)
    relative = _relative(lin.space, lin.z, rows, way)
    if len(rows) == 2 and relative is not None and relative.all():
        ratio = relative[1] / relative[0]
        if 1 / ALIKE < -ratio < ALIKE:
            return Group(names, f"only the product of {names[0]} and {names[1]} is seen")
        if 1 / ALIKE < ratio < ALIKE:
            return Group(names, f"only the ratio of {names[0]} to {names[1]} is seen")
    moves = ", ".join(_moves(lin.space, lin.z, rows, way))
    return Group(names, f"{moves}: together this changes hardly any reading")


def _relative(
    space: ParamSpace, z: np.ndarray, rows: np.ndarray, way: np.ndarray
) -> np.ndarray | None:
    """Returns (G,) relative changes of rows along ``way``; None if one may be zero or change sign.

    They are those at the middle of a row's limits in the law, where it could be anywhere.
    """
    limits = np.array([space.rows[i].limits for i in rows])
    if (limits[:, 0] <= 0).any():
        return None
    step = np.zeros(len(z))
    step[rows] = 1e-4 * way
    here = values_at(space, np.clip(z, 1e-3, 1 - 1e-3))[rows]
    there = values_at(space, np.clip(z, 1e-3, 1 - 1e-3) + step)[rows]
    return np.asarray(np.log(there / here) / 1e-4)


def _moves(space: ParamSpace, z: np.ndarray, rows: np.ndarray, way: np.ndarray) -> list[str]:
    """Returns by how much each row moves along ``way``, signs such that the first one rises."""
    size = SHOWN * np.sign(way[0] or 1.0) / np.abs(way).max()
    step = np.zeros(len(z))
    step[rows] = size * way
    middle = np.clip(z, SHOWN, 1 - SHOWN)
    change = values_at(space, middle + step) - values_at(space, middle)
    units = ["" if space.rows[i].unit == "1" else f" {space.rows[i].unit}" for i in rows]
    return [f"{space.names[i]} {change[i]:+.2g}{u}" for i, u in zip(rows, units, strict=True)]
