"""What an identification leaves: samples of the rows, their ranges, and what the logs did not see.

`posterior.json` is this as a file. Training takes it by ``--ranges posterior.json``: the ranges
become the initial ranges of their rows, the best values their nominal ones, and rows that the logs
tie together are drawn together. It knows no simulator and no jax.
"""

from dataclasses import dataclass

import numpy as np

from mjx_s2r.params import ParamSpace, Range

FORMAT = "mjx_s2r posterior 1"


@dataclass(frozen=True, eq=False)
class Posterior:
    """M samples of the D rows that were fitted.

    Attributes:
        space: the rows, with the limits that they were searched in.
        best: (D,) the values that fit best, in the rows' units.
        samples: (M, D) values as likely as the logs make them.
        interval: (D, 2) 95 % interval of each row.
        unseen: rows that the logs say nothing of: their interval is that of the limits.
        at_bound: rows whose best value lies at a limit.
        groups: rows that the logs only see together, e.g. (("kp", "strength"),).
        correlation: (D, D) of the samples, in the rows' law coordinates.
        logs: names of the recordings that were fitted.
        task: name of the task, or of the model's file.
        notes: what a reader of the numbers must know, a sentence each.
    """

    space: ParamSpace
    best: np.ndarray
    samples: np.ndarray
    interval: np.ndarray
    unseen: tuple[str, ...]
    at_bound: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    correlation: np.ndarray
    logs: tuple[str, ...]
    task: str
    notes: tuple[str, ...] = ()

    def range_of(self, name: str) -> Range:
        """Returns the 95 % interval of a row, in its unit."""
        low, high = self.interval[self.space.index(name)]
        return float(low), float(high)
