"""Are the robot's observations like those of training, number by number and all together?

Three questions, each harder to pass: is a reading inside what the training met (the contract's
``seen_low`` and ``seen_high``); is it inside what simulated flights of the same policy showed; is
the whole observation as near to their middle as they are themselves (Mahalanobis 1936, with the
covariance shrunk to its diagonal so that few flights suffice).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mjx_s2r.contract import PolicyContract
from mjx_s2r.robot.log import Flight

EDGE = 0.005  # share of the simulated readings that lie outside on either side
BINS = 20
SHRINK = 0.05  # weight of the covariance's diagonal
USUAL = 0.99  # quantile of the simulated distances that still counts as usual


@dataclass(frozen=True)
class SeenSignal:
    """One number of the observation, on robot and in simulation.

    Attributes:
        name: signal and place, e.g. "joint_pos[2]".
        unit: of the reading.
        outside_training: share of the robot's readings outside the contract's seen_low and
            seen_high; NaN where it claims nothing.
        outside_simulation: share outside all but the outermost per cent of simulated readings.
        overlap: common area of both histograms, 0 to 1.
        robot: (2,) 1st and 99th percentile on the robot.
        simulation: (2,) the same in simulation.
    """

    name: str
    unit: str
    outside_training: float
    outside_simulation: float
    overlap: float
    robot: tuple[float, float]
    simulation: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        """Returns the figures as JSON values."""
        known = np.isfinite(self.outside_training)
        return dict(vars(self)) | {"outside_training": self.outside_training if known else None}


@dataclass(frozen=True)
class ObservationGap:
    """The robot's observations beside those of simulated flights.

    Attributes:
        signals: number by number, in the order of the observation.
        unusual: share of the robot's observations that are farther from the middle of the simulated
            ones than all but one per cent of these.
        distance: median Mahalanobis distance on the robot over that in simulation.
        robot_steps: observations on the robot.
        simulated_steps: observations in simulation.
    """

    signals: tuple[SeenSignal, ...]
    unusual: float
    distance: float
    robot_steps: int
    simulated_steps: int


def observations_of(flights: Sequence[Flight]) -> np.ndarray:
    """Returns (N, P) what the policy read in all steps in which it was asked."""
    rows = [
        np.asarray(step.observation, float)
        for flight in flights
        for step in flight.bare()
        if step.observation is not None and np.isfinite(step.observation).all()
    ]
    return np.stack(rows) if rows else np.zeros((0, 0))


def compare_observations(
    contract: PolicyContract, robot: np.ndarray, simulated: np.ndarray
) -> ObservationGap:
    """Returns how the robot's observations (N, P) lie among the simulated ones (M, P).

    Both are as the policy reads them; the figures are in the signals' units.

    Raises:
        ValueError: no observations on either side, or of another size than the contract's.
    """
    for name, obs in (("robot", robot), ("simulated", simulated)):
        if obs.ndim != 2 or not len(obs) or obs.shape[1] != contract.size:
            raise ValueError(
                f"{name} observations of shape {obs.shape}: need some of {contract.size} numbers"
            )
    signals, at = [], 0
    for s in contract.signals:
        offset = np.broadcast_to(s.offset, s.size)
        for i in range(s.size):
            ours, theirs = (x[:, at] / s.scale + offset[i] for x in (robot, simulated))
            ends = (s.seen_low[i], s.seen_high[i]) if s.seen_low else None
            signals.append(_signal(f"{s.name}[{i}]", s.unit, ours, theirs, ends))
            at += 1
    near, usual = _distances(robot, simulated)
    return ObservationGap(
        signals=tuple(signals),
        unusual=float((near > np.quantile(usual, USUAL)).mean()),
        distance=float(np.median(near) / max(float(np.median(usual)), 1e-12)),
        robot_steps=len(robot),
        simulated_steps=len(simulated),
    )


def _signal(
    name: str,
    unit: str,
    robot: np.ndarray,
    simulated: np.ndarray,
    seen: tuple[float, float] | None,
) -> SeenSignal:
    """Returns the figures of one number (N,) and (M,)."""
    low, high = np.quantile(simulated, (EDGE, 1 - EDGE))
    slack = 1e-6 * max(abs(low), abs(high), 1e-6)
    outside = (robot < low - slack) | (robot > high + slack)
    both = np.concatenate((robot, simulated))
    edges = np.linspace(both.min() - slack, both.max() + slack, BINS + 1)
    shares = [np.histogram(x, edges)[0] / len(x) for x in (robot, simulated)]
    beyond = np.nan if seen is None else float(((robot < seen[0]) | (robot > seen[1])).mean())
    spans = [tuple(np.quantile(x, (0.01, 0.99)).tolist()) for x in (robot, simulated)]
    return SeenSignal(
        name=name,
        unit=unit,
        outside_training=beyond,
        outside_simulation=float(outside.mean()),
        overlap=float(np.minimum(*shares).sum()),
        robot=spans[0],
        simulation=spans[1],
    )


def _distances(robot: np.ndarray, simulated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns Mahalanobis distances (N,) and (M,) from the middle of the simulated ones.

    A number that never changes in simulation is measured by a thousandth of the usual spread.
    """
    middle, std = simulated.mean(0), simulated.std(0)
    usual = float(np.median(std[std > 0])) if (std > 0).any() else 1.0
    std = np.maximum(std, 1e-3 * usual)
    flat = (simulated - middle) / std
    covariance = flat.T @ flat / len(flat)
    shrunk = (1 - SHRINK) * covariance + SHRINK * np.eye(len(std))
    whiten = np.linalg.inv(np.linalg.cholesky(shrunk))
    near, far = (((x - middle) / std) @ whiten.T for x in (robot, simulated))
    return np.linalg.norm(near, axis=1), np.linalg.norm(far, axis=1)
