"""A module that stands in for wandb: it keeps what it is told, or fails where it is told to."""

import types
from dataclasses import dataclass, field
from typing import Any


@dataclass
class FakeRun:
    """One run.

    Attributes:
        id: its name.
        lines: what was logged.
        axes: what was said of the axes.
        ended: the exit code it was finished with.
        breaks: whether logging fails.
    """

    id: str
    lines: list[dict[str, float]] = field(default_factory=list)
    axes: dict[str, str | None] = field(default_factory=dict)
    ended: int | None = None
    breaks: bool = False

    def log(self, line: dict[str, float]) -> None:
        """Keeps a line."""
        if self.breaks:
            raise ConnectionError("no route to host")
        self.lines.append(line)

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        """Keeps which axis a figure is drawn over."""
        self.axes[name] = step_metric

    def finish(self, exit_code: int) -> None:
        """Ends it."""
        self.ended = exit_code


class FakeWandb(types.ModuleType):
    """The module: every run by its id, and the arguments of each `init`."""

    def __init__(self) -> None:
        """Knows no run yet."""
        super().__init__("wandb")
        self.runs: dict[str, FakeRun] = {}
        self.asked: list[dict[str, Any]] = []
        self.Settings = dict
        self.breaks = False

    def init(self, **asked: Any) -> FakeRun:
        """Begins a run, or goes on with one."""
        if self.breaks:
            raise TimeoutError("the server does not answer")
        self.asked.append(asked)
        name = asked["id"] or f"run{len(self.runs)}"
        return self.runs.setdefault(name, FakeRun(name))
