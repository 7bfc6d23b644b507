"""How far two sets of pictures are apart: can a simple classifier tell them, and by how much.

Features are simple on purpose: an 8 by 8 thumbnail, mean and deviation of each channel, and of
these the `AXES` principal components of both sets, so that a handful of flights suffices. A
classifier that cannot tell the sets by them (50 %) says that light, colours and layout agree; fine
texture it does not see.

    classifier  logistic regression with a quadratic penalty, by Newton's method, cross-validated
                over flights: no flight is both learned from and judged on
    distance    Frechet's between Gaussians (Heusel et al. 2017, arXiv 1706.08500, with these
                features in the place of Inception's): |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from mjx_s2r.eval.intervals import design_effect, wilson
from mjx_s2r.eval.performance import EpisodeFigure

THUMB = 8  # side of the thumbnail
FOLDS = 5
PENALTY = 1.0  # on standardized weights
AXES = 32  # principal components that are kept
STEPS = 25  # of Newton's method, at most


@dataclass(frozen=True)
class DomainGap:
    """How far the robot's pictures are from simulated ones.

    Attributes:
        accuracy: share of pictures whose side the classifier tells; 0.5 cannot tell.
        distance: Frechet distance over its own value between two halves of the simulated pictures.
        robot: pictures of the robot.
        simulated: simulated ones.
    """

    accuracy: EpisodeFigure
    distance: float
    robot: int
    simulated: int

    def to_json(self) -> dict[str, Any]:
        """Returns the figures as JSON values."""
        return dict(vars(self)) | {"accuracy": self.accuracy.to_json()}


def picture_features(pictures: np.ndarray) -> np.ndarray:
    """Returns (N, F) features of pictures (N, H, W, C): thumbnail, then mean and deviation."""
    count, height, width = pictures.shape[:3]
    x = pictures.astype(float)
    rows = np.linspace(0, height, min(THUMB, height) + 1).round().astype(int)
    columns = np.linspace(0, width, min(THUMB, width) + 1).round().astype(int)
    thumbs = [x[:, a:b, c:d].mean((1, 2)) for a, b in pairwise(rows) for c, d in pairwise(columns)]
    return np.concatenate([*thumbs, x.mean((1, 2)), x.std((1, 2))], axis=1).reshape(count, -1)


def compare_domains(
    robot: np.ndarray,
    simulated: np.ndarray,
    robot_flight: np.ndarray,
    simulated_flight: np.ndarray,
) -> DomainGap:
    """Returns how far pictures (N, H, W, C) and (M, H, W, C) are apart.

    Args:
        robot: of the robot.
        simulated: of a simulation.
        robot_flight: (N,) flight of each; pairs of one moment have the same number on both sides.
        simulated_flight: (M,) likewise.

    Raises:
        ValueError: pictures of fewer than two flights on a side, which nothing can be learned from.
    """
    for name, flights in (("robot", robot_flight), ("simulation", simulated_flight)):
        if len(np.unique(flights)) < 2:
            raise ValueError(f"pictures of at least 2 flights are needed ({name})")
    both = np.concatenate((picture_features(robot), picture_features(simulated)))
    std = both.std(0)
    both = (both - both.mean(0)) / np.where(std > 1e-9, std, 1.0)
    both = both @ np.linalg.svd(both, full_matrices=False)[2][:AXES].T
    label = np.concatenate((np.ones(len(robot)), np.zeros(len(simulated))))
    fold = np.concatenate((robot_flight, simulated_flight)) % FOLDS
    flights, flight = np.unique(
        np.concatenate((robot_flight, simulated_flight)), return_inverse=True
    )
    right, judged = np.zeros((len(flights), 2)), np.zeros((len(flights), 2))
    for k in np.unique(fold):
        train, test = fold != k, fold == k
        if len(np.unique(label[train])) < 2:
            continue
        w = _logistic(both[train], label[train])
        guess = both[test] @ w[:-1] + w[-1] > 0
        for side in (0, 1):
            mine = label[test] == side
            np.add.at(right[:, side], flight[test][mine], guess[mine] == bool(side))
            np.add.at(judged[:, side], flight[test][mine], 1)
    # Both sides count alike, however many pictures they have.
    weight = judged.sum(0).min() / np.maximum(judged.sum(0), 1)
    accuracy, low, high = _rate_over_flights(right @ weight, judged @ weight)
    ours, theirs = both[: len(robot)], both[len(robot) :]
    return DomainGap(
        accuracy=EpisodeFigure(accuracy, low, high),
        distance=_distance_ratio(ours, theirs, simulated_flight),
        robot=len(robot),
        simulated=len(simulated),
    )


def _rate_over_flights(right: np.ndarray, judged: np.ndarray) -> tuple[float, float, float]:
    """Returns a rate and its 95 % interval, of pictures that are alike within a flight.

    Counts are divided by how much more than by chance flights differ (Rao and Scott 1992), which
    few flights do not tell well: Student's quantile stands for the normal one.

    Args:
        right: (C,) pictures of each flight that were told.
        judged: (C,) of how many.
    """
    right, judged = right[judged > 0], judged[judged > 0]
    rate, flights = float(right.sum() / judged.sum()), len(judged)
    count = max(1.0, float(judged.sum()) / design_effect(right.tolist(), judged.tolist()))
    return rate, *wilson(rate * count, count, clusters=flights)


def _logistic(features: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Returns weights (F + 1,), the last one constant, of a penalized logistic regression.

    Both labels weigh alike.
    """
    x = np.column_stack((features, np.ones(len(features))))
    weight = np.where(label == 1, 0.5 / label.mean(), 0.5 / (1 - label.mean()))
    ridge = PENALTY * np.eye(x.shape[1])
    ridge[-1, -1] = 1e-6
    w = np.zeros(x.shape[1])
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))
        gradient = x.T @ (weight * (p - label)) + ridge @ w
        curvature = (x * (weight * np.maximum(p * (1 - p), 1e-6))[:, None]).T @ x + ridge
        step = np.linalg.solve(curvature, gradient)
        w = w - step
        if np.abs(step).max() < 1e-4:
            break
    return w


def _distance_ratio(robot: np.ndarray, simulated: np.ndarray, flight: np.ndarray) -> float:
    """Returns the Frechet distance of two sets over that of the simulated set's own halves."""
    half = np.isin(flight, np.unique(flight)[::2])
    floor = frechet(simulated[half], simulated[~half])
    return frechet(robot, simulated) / max(floor, 1e-12)


def frechet(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the squared Frechet distance of Gaussians fitted to (N, F) and (M, F) features."""
    middle = ((one.mean(0) - other.mean(0)) ** 2).sum()
    first, second = (np.atleast_2d(np.cov(x.T, bias=True)) for x in (one, other))
    # tr (S1 S2)^(1/2) from the eigenvalues of the similar symmetric S1^(1/2) S2 S1^(1/2)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)).sum()
    return float(middle + np.trace(first) + np.trace(second) - 2 * shared)
