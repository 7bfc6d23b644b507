"""Experiment tracking: a training's metrics to Weights & Biases, where that is asked for.

The package is optional: ``pip install "mjx_s2r[wandb]"``. Without a key in WANDB_API_KEY nothing
leaves the machine: lines are kept under the run's folder until ``wandb sync`` sends them. The
environment variable WANDB_MODE (online, offline, disabled) has the last word.

No trouble of the tracker's ends a training: the first error is a warning, then it is silent.
"""

import importlib
import json
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mjx_s2r.io.config import to_dict
from mjx_s2r.io.run import RunError, write_json

IDENTITY = "wandb.json"  # in the run's folder; a resumed run goes on under the same id
AXIS = "iteration"


class Tracker:
    """One run of a W&B project. Make it with `track`, end it with `close`.

    Attributes:
        folder: the run's folder.
        mode: "online" or "offline", or what WANDB_MODE says.
    """

    def __init__(self, wandb: Any, folder: Path, project: str, config: Any) -> None:
        """Begins the run in W&B, or goes on with the one that the folder names."""
        self.folder = folder
        self.mode = mode()
        self._failed = False
        self._run: Any = None
        self._try(lambda: self._begin(wandb, project, config))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Sends one line of numbers; those that are not finite are left out.

        W&B refuses lines of a step that it has seen, and a resumed run goes back to its checkpoint:
        so the iteration is an axis of its own.
        """
        if self._run is None:
            return
        line = {name: float(v) for name, v in values.items() if math.isfinite(v)}
        self._try(lambda: self._run.log({AXIS: int(step), **line}))

    def close(self, *, failed: bool = False) -> None:
        """Ends the run in W&B and waits until it is written."""
        if self._run is not None:
            self._try(lambda: self._run.finish(exit_code=int(failed)))
        self._run = None

    def _begin(self, wandb: Any, project: str, config: Any) -> None:
        """Opens the run and keeps its id."""
        file = self.folder / IDENTITY
        known = json.loads(file.read_text()) if file.exists() else {}
        same = known.get("project") == project
        self._run = wandb.init(
            project=project,
            name=self.folder.name,
            id=known["id"] if same else None,
            resume="allow" if same else None,
            config=to_dict(config),
            dir=str(self.folder),
            mode=self.mode,
            settings=wandb.Settings(console="off"),  # it would take the progress line apart
        )
        self._run.define_metric(AXIS)
        self._run.define_metric("*", step_metric=AXIS)
        write_json(file, {"project": project, "id": self._run.id})

    def _try(self, act: Callable[[], Any]) -> None:
        """Calls the tracker; an error is shown once and ends the tracking, nothing else."""
        try:
            act()
        except Exception as error:  # whatever it is, figures are worth less than the training
            self._run = None
            if not self._failed:
                warnings.warn(
                    f"{self.folder}: Weights & Biases is given up "
                    f"({type(error).__name__}: {error}); training goes on, and its figures are in "
                    "metrics.jsonl",
                    RuntimeWarning,
                    stacklevel=3,
                )
            self._failed = True


def mode() -> str:
    """Returns how W&B is used: as WANDB_MODE says, else online only where there is a key."""
    key = os.environ.get("WANDB_API_KEY")
    return os.environ.get("WANDB_MODE") or ("online" if key else "offline")


def require() -> Any:
    """Returns the package wandb.

    Raises:
        RunError: it is not installed; says how to.
    """
    try:
        return importlib.import_module("wandb")
    except ModuleNotFoundError as error:
        raise RunError(
            f"--wandb needs the package wandb, which cannot be imported ({error}); install it with "
            "pip install 'mjx_s2r[wandb]', or leave --wandb out"
        ) from error


def track(folder: Path, project: str, config: Any) -> Tracker | None:
    """Returns a tracker of the run in ``folder``; None where no project is named.

    Raises:
        RunError: the package is not installed.
    """
    return Tracker(require(), folder, project, config) if project else None


@contextmanager
def ending(tracker: Tracker | None) -> Iterator[None]:
    """Ends the run in W&B at the end of a block; one that an error ends counts as failed there."""
    try:
        yield
    except BaseException:
        if tracker is not None:
            tracker.close(failed=True)
        raise
    if tracker is not None:
        tracker.close()
