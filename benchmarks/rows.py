"""Settings and rows of a benchmark, and the file that holds a run."""

import json
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.timing import Timing

PEERS = ("brax", "playground", "rsl-rl-lib", "torch")  # libraries that are compared with
FRACTIONS = ("peer_rate", "peer_error")  # settings that may be below one


class BenchmarkError(RuntimeError):
    """A file of results that cannot be read; the message names it and the remedy."""


@dataclass(frozen=True)
class Settings:
    """Sizes of all cases; smaller ones run everything without saying much."""

    repeat: int = 5
    """How often each timing is taken; the median counts."""
    min_s: float = 0.3
    """Shortest timing, s; a quicker call is repeated within it."""
    num_envs: int = 512
    """Worlds simulated at once."""
    num_steps: int = 16
    """Control steps per rollout of the env case."""
    physics_steps: int = 50
    """Physics steps per timing, and in the comparison with C MuJoCo."""
    images: int = 256
    """Pictures drawn at once."""
    calls: int = 2000
    """Calls of the exported policy, and steps of the controller."""
    seeds: int = 5
    """Trainings of each library in comparisons with others."""
    peer_steps: int = 10_000_000
    """Environment steps of each such training."""
    experiments: int = 100
    """Simulated robots of each kind that are identified."""
    peer_return: float = 700.0
    """Return that both libraries are timed to: of 1,000, held upright for most of an episode."""
    peer_pictures: int = 40_960
    """Pictures of each student in comparisons with others."""
    peer_rate: float = 3e-3
    """Step size of rsl_rl's student, from first to last."""
    peer_error: float = 0.02
    """Error that students are timed to: squared difference of an action in [-1, 1]."""

    def __post_init__(self) -> None:
        """Checks the sizes.

        Raises:
            ValueError: a size below one, or a rate or an error that is not above 0, named.
        """
        for name in FRACTIONS:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} {getattr(self, name)} must be above 0")
        for name, value in asdict(self).items():
            if name not in ("min_s", *FRACTIONS) and value < 1:
                raise ValueError(f"{name} {value} must be at least 1")


@dataclass(frozen=True)
class Row:
    """One figure: which case it is of, what it is called, its value and unit, what is inside."""

    case: str
    metric: str
    value: float
    unit: str
    note: str = ""


def timed(case: str, metric: str, timing: Timing, amount: float, unit: str) -> list[Row]:
    """Returns a speed (``amount`` per median call), how far its timings lie apart, its compile."""
    return [
        Row(case, metric, amount / timing.median_s, unit),
        Row(case, f"{metric}.spread", timing.spread, "1"),
        Row(case, f"{metric}.compile", timing.compile_s, "s"),
    ]


def about(settings: Settings) -> dict[str, Any]:
    """Returns what a run must carry to be compared: machine, versions, commit, date, sizes."""
    from mjx_s2r.runtime import devices  # here, so that files are compared without starting jax

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    now = datetime.now(UTC).isoformat(timespec="seconds")
    head = devices.describe()
    head["versions"] |= peers()
    return {**head, "date": now, "load_before": load, "settings": asdict(settings)}


def peers() -> dict[str, str]:
    """Returns the versions of the libraries to compare with that are installed."""
    found = {}
    for name in PEERS:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def save(path: Path, head: dict[str, Any], rows: Sequence[Row]) -> None:
    """Writes a run; a figure that is not finite becomes null."""
    plain = [
        {
            **{name: value for name, value in asdict(row).items() if name != "note" or value},
            "value": row.value if math.isfinite(row.value) else None,
        }
        for row in rows
    ]
    lines = ",\n  ".join(json.dumps(row, allow_nan=False) for row in plain)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.draft")
    text = json.dumps(head, indent=1, allow_nan=False)
    draft.write_text(f'{{"about": {text},\n "rows": [\n  {lines}\n]}}\n')
    draft.replace(path)


def load(path: Path) -> tuple[dict[str, Any], list[Row]]:
    """Returns header and rows of a run.

    Raises:
        BenchmarkError: no such file, or one that holds no run.
    """
    try:
        held = json.loads(path.read_text())
        rows = [
            Row(
                str(row["case"]),
                str(row["metric"]),
                math.nan if row["value"] is None else float(row["value"]),
                str(row["unit"]),
                str(row.get("note", "")),
            )
            for row in held["rows"]
        ]
        return dict(held["about"]), rows
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchmarkError(
            f"{path} holds no benchmark run ({type(error).__name__}: {error}); "
            "write one with python -m benchmarks --json FILE"
        ) from error
