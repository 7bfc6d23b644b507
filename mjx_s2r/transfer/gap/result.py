"""What a measurement of the gap found; what could not be measured is absent, and said."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mjx_s2r.eval.gap_verdict import GapVerdict
from mjx_s2r.eval.performance import Performance
from mjx_s2r.params import ParamSpace
from mjx_s2r.transfer.gap.blame import Blame
from mjx_s2r.transfer.gap.domains import DomainGap
from mjx_s2r.transfer.gap.observations import ObservationGap
from mjx_s2r.transfer.gap.pictures import PicturePairs
from mjx_s2r.transfer.gap.replay import ReplayGap


@dataclass(frozen=True)
class Place:
    """Episodes of one policy in one place.

    Attributes:
        name: "simulation", "nominal world", "robot" ...
        about: what it is, a few words.
        performance: figures; a return that nobody measured is NaN.
    """

    name: str
    about: str
    performance: Performance


@dataclass(frozen=True, eq=False)
class PictureGap:
    """The pictures of one camera.

    Attributes:
        pairs: moments as both saw them.
        action: (N, J) action on the robot's picture minus that on the render, in shares of the
            action's scale; None where it is not defined.
        paired: robot beside renders of the same moments; None with too few flights.
        varied: robot beside simulated flights in worlds of the training; None without them.
    """

    pairs: PicturePairs
    action: np.ndarray | None
    paired: DomainGap | None
    varied: DomainGap | None

    def to_json(self) -> dict[str, Any]:
        """Returns the figures as JSON values."""
        size = None if self.action is None else np.sqrt((self.action**2).mean(0)).tolist()
        return {
            "camera": self.pairs.camera.name,
            "pairs": len(self.pairs),
            "action_rms_share_of_scale": size,
            "paired": None if self.paired is None else self.paired.to_json(),
            "varied": None if self.varied is None else self.varied.to_json(),
        }


@dataclass(frozen=True, eq=False)
class GapReport:
    """Everything on the page.

    Attributes:
        task: name of the task.
        policy: name of the file.
        space: the task's table.
        places: what the policy did where.
        verdict: on the share of the simulated success that is lost; None where nobody counted.
        replay: recorded commands in simulation; None without recordings.
        blame: which rows explain the replay's error.
        observations: the robot's among those of training.
        pictures: camera by camera.
        missing: what was left out and why, a sentence each.
    """

    task: str
    policy: str
    space: ParamSpace
    places: tuple[Place, ...]
    verdict: GapVerdict | None
    replay: ReplayGap | None
    blame: Blame | None
    observations: ObservationGap | None
    pictures: tuple[PictureGap, ...]
    missing: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns the figures as JSON values."""
        return {
            "task": self.task,
            "policy": self.policy,
            "places": {p.name: p.performance.to_json() for p in self.places},
            "verdict": None if self.verdict is None else self.verdict.to_json(),
            "replay": None if self.replay is None else _replayed(self.replay),
            "blame": None if self.blame is None else _blamed(self.blame),
            "observations": None if self.observations is None else _observed(self.observations),
            "pictures": [found.to_json() for found in self.pictures],
            "missing": list(self.missing),
        }


def _replayed(replay: ReplayGap) -> list[dict[str, Any]]:
    """Returns the errors, channel by channel."""
    columns = (replay.error(), replay.motion(), replay.share(), replay.inside())
    names = ("error", "motion", "share", "inside")
    return [
        {"channel": str(channel), "unit": channel.unit}
        | {name: _finite(column[c]) for name, column in zip(names, columns, strict=True)}
        for c, channel in enumerate(replay.channels)
    ]


def _blamed(blame: Blame) -> dict[str, Any]:
    """Returns the rows that explain the difference."""
    return {
        "single": [row.to_json() for row in blame.single],
        "greedy": [row.to_json() for row in blame.greedy],
        "together": _finite(blame.together),
        "together_best": blame.together_best,
    }


def _observed(gap: ObservationGap) -> dict[str, Any]:
    """Returns the figures of the observations."""
    about = {"unusual": gap.unusual, "distance": gap.distance}
    about |= {"robot_steps": gap.robot_steps, "simulated_steps": gap.simulated_steps}
    return about | {"signals": [signal.to_json() for signal in gap.signals]}


def _finite(value: float) -> float | None:
    """Returns a number that JSON can hold."""
    return float(value) if np.isfinite(value) else None
