"""Identification of a robot within a study, by `train identify`."""

from collections.abc import Sequence
from pathlib import Path

from mjx_s2r.transfer.fit import RowFitConfig
from train import identify

BRIEF_FIT = RowFitConfig(candidates=64, generations=10, search_windows=12, starts=2, iterations=10)


def identify_robot(
    logs: Sequence[Path], task: str, folder: Path, fit: RowFitConfig, rows: Sequence[str] = ()
) -> Path:
    """Identifies a robot; returns its posterior, in ``folder``.

    Args:
        logs: of the robot.
        task: whose table is fitted.
        folder: of the results.
        fit: settings of the fit.
        rows: that are fitted; none: all that motion tells.
    """
    words = [*map(str, logs), "--task", task, "--out", str(folder), "--rows", *rows]
    for name, value in vars(fit).items():
        words += [f"--fit.{name.replace('_', '-')}", str(value)]
    identify.main(words)
    return folder / "posterior.json"
