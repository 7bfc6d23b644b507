"""What an identification leaves: samples of the rows, their ranges, and what the logs did not see.

`posterior.json` is this as a file. Training takes it by ``--ranges posterior.json``: the intervals
become the initial ranges of their rows, the best values their nominal ones, and rows that the logs
tie together are drawn together. It knows no simulator and no jax.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from mjx_s2r.io.run import write_text_whole
from mjx_s2r.params import Param, ParamError, ParamSpace, Range
from mjx_s2r.params.ranges import POSTERIOR, kind_of_row

DIGITS = 6  # of a sample in a file
_PAIRS = ("elements", "initial", "limits")  # fields of a row that JSON has as lists


class PosteriorError(ValueError):
    """A file that is no posterior; the message names file and entry, and the remedy."""


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

    def ranges(self, table: ParamSpace | None = None) -> dict[str, dict[str, Any]]:
        """Returns the ranges that training starts from, by row, as `mjx_s2r.make` takes them.

        The initial range of a row is its interval, widened to hold the best value, which becomes
        the nominal one. Rows that are only seen together are drawn together, with the correlation
        that each has with the first of them. Unseen rows are left out: they keep the task's range.

        Args:
            table: the table that they are for, where rows were searched further than it reaches, or
                made beside it: a row that it lacks is left out, and a row's limits are widened to
                hold the initial range.
        """
        found: dict[str, dict[str, Any]] = {}
        known = self.space.names if table is None else table.names
        for i, row in enumerate(self.space.rows):
            if row.name not in self.unseen and row.name in known:
                low, high, best = (*self.range_of(row.name), float(self.best[i]))
                initial = [min(low, best), max(high, best)]
                found[row.name] = {"nominal": best, "initial": initial, "of": kind_of_row(row)}
                if table is not None:
                    ends = table.rows[table.index(row.name)].limits
                    wide = [min(initial[0], ends[0]), max(initial[1], ends[1])]
                    found[row.name] |= {"limits": wide}
        for number, group in enumerate(self._tied(), 1):
            group = tuple(name for name in group if name in found)
            if len(group) < 2:
                continue
            first = self.space.index(group[0])
            for name in group:
                rho = round(float(self.correlation[first, self.space.index(name)]), 4)
                rho = 1.0 if name == group[0] else min(max(rho, -1.0), 1.0)
                found[name] |= {"correlation": f"posterior_{number}", "rho": rho}
        return found

    def _tied(self) -> list[tuple[str, ...]]:
        """Returns the groups of seen rows that can be drawn together: all at the same time."""
        found = []
        for group in self.groups:
            rows = [self.space.rows[self.space.index(n)] for n in group if n not in self.unseen]
            often = [row for row in rows if row.resample != "step"]
            same = tuple(row.name for row in often if row.resample == often[0].resample)
            found += [same] if len(same) > 1 else []
        return found

    def save(self, path: Path, table: ParamSpace | None = None) -> None:
        """Writes the posterior as JSON, whole or not at all.

        Of the logs only names are written, without their folders.

        Args:
            path: of the file.
            table: that its ranges are for, see `ranges`.
        """
        rows = [
            asdict(row) | {"best": float(best), "interval": list(map(float, ends))}
            for row, best, ends in zip(self.space.rows, self.best, self.interval, strict=True)
        ]
        body = {
            "format": POSTERIOR,
            "task": _without_folder(self.task),
            "logs": [_without_folder(name) for name in self.logs],
            "notes": self.notes,
            "ranges": self.ranges(table),
            "unseen": self.unseen,
            "at_bound": self.at_bound,
            "groups": self.groups,
            "rows": rows,
            "correlation": np.round(self.correlation, DIGITS).tolist(),
            "samples": [[float(f"{x:.{DIGITS}g}") for x in one] for one in self.samples],
        }
        lines = (f" {json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in body.items())
        write_text_whole(path, "{\n" + ",\n".join(lines) + "\n}\n")

    @classmethod
    def load(cls, path: Path) -> "Posterior":
        """Reads a posterior that `save` wrote.

        Raises:
            PosteriorError: a file that cannot be read, that is none of ours, or damaged.
        """
        body = _read_body(path)
        try:
            rows = body["rows"]
            space = ParamSpace(tuple(_read_row(row) for row in rows))
            count = len(space)
            return cls(
                space=space,
                best=_array([row["best"] for row in rows], (count,)),
                samples=_array(body["samples"], (-1, count)),
                interval=_array([row["interval"] for row in rows], (count, 2)),
                unseen=tuple(body["unseen"]),
                at_bound=tuple(body["at_bound"]),
                groups=tuple(tuple(group) for group in body["groups"]),
                correlation=_array(body["correlation"], (count, count)),
                logs=tuple(body["logs"]),
                task=str(body["task"]),
                notes=tuple(body["notes"]),
            )
        except KeyError as error:
            raise PosteriorError(
                f"posterior {path} has no {error.args[0]!r}; it is damaged: identify again"
            ) from error
        except (TypeError, ValueError, ParamError) as error:
            raise PosteriorError(
                f"posterior {path}: {error}; it is damaged: identify again"
            ) from error


def _without_folder(name: str) -> str:
    """Returns a file's name without its folder, as it may leave the machine."""
    return re.sub(r".*[/\\]", "", name)


def _read_body(path: Path) -> Mapping[str, Any]:
    """Returns what stands in a file whose format is ours."""
    try:
        body = json.loads(path.read_text())
    except OSError as error:
        raise PosteriorError(
            f"posterior {path} cannot be read ({error.strerror}); name a posterior.json"
        ) from error
    except ValueError as error:
        raise PosteriorError(
            f"posterior {path} is no JSON ({error}); it is damaged: identify again"
        ) from error
    word = body.get("format") if isinstance(body, Mapping) else None
    if word != POSTERIOR:
        raise PosteriorError(
            f"posterior {path}: format {word!r} is not {POSTERIOR!r}; identify again with this "
            "version, or name the posterior.json that an identification wrote"
        )
    return dict(body)


def _read_row(body: Mapping[str, Any]) -> Param:
    """Returns the row of the table that an entry of "rows" is about."""
    known = {f.name: body[f.name] for f in fields(Param)}
    return Param(**known | {key: tuple(known[key]) for key in _PAIRS})


def _array(values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Returns an array of a shape; raises ValueError for another one, or numbers not finite."""
    found = np.array(values, float).reshape(shape)
    if not np.isfinite(found).all():
        raise ValueError("a number is not finite")
    return found
