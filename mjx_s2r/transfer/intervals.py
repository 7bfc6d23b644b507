"""How uncertain a fit is: covariances that hold where the noise model and the windows do not.

Residuals of a robot are not what a noise model says: the model is wrong a little everywhere, and
windows next to each other share what it leaves out. The covariance of the rows is therefore a
sandwich, M B M with the bread M = (sum Q)^-1 of the information and the meat B from the scores of
clusters of windows, which may be correlated inside as they like (Liang and Zeger 1986, Biometrika
73). Three things keep it from being too narrow with few clusters:

    CR2   scores enlarged by the leverage of their cluster, (I - Q M)^-1/2 g (Bell and McCaffrey
          2002, Survey Methodology 28; here in D by D numbers, by X'f(XMX') = f(X'XM)X')
    t     a Student's t in place of a normal, its degrees of freedom those of Bell and McCaffrey
    base  a part of the noise model's own M, as large as rows are many beside clusters

Clusters are the windows, blocks of them, and whole recordings, as long as there are enough of each;
a Bayesian bootstrap over the windows (Rubin 1981, Annals of Statistics 9; one step each) and the
noise model's own deviation are computed as well, and in each direction the widest counts. All is
done along the principal directions of the information that are seen; the others are left to the
limits.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from mjx_s2r.transfer.information import SEEN, Information, seen_directions

CONFIDENCE = 0.95
NORMAL = 1.959964  # deviations to either side that hold 95 % of a normal
LEAST_CLUSTERS = 12  # fewer blocks or recordings tell no covariance
LEAST_FREEDOM = 2.0
FAR = 3.0  # deviations that the best values under two weights may lie apart
STEP, WINDOWS = "the last step", "windows"
LEAST_LEFT = 0.05  # of a cluster's residual, however much of the fit hangs on it
BOOTSTRAPS = 400


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """A normal law about a fit in unit coordinates, flat where nothing is known.

    Attributes:
        directions: (D, E) orthonormal directions that the logs see.
        covariance: (E, E) along them; 95 % of the truths lie within 1.96 of its deviations.
        precision: (D, D) inverse of the covariance, zero across the others.
        widest: (E,) what gave the width of each direction.
    """

    directions: np.ndarray
    covariance: np.ndarray
    precision: np.ndarray
    widest: tuple[str, ...]

    def deviation(self) -> np.ndarray:
        """Returns (D,) the deviation of each row; infinite where it lies across what is seen."""
        shares = np.einsum("de,ef,df->d", self.directions, self.covariance, self.directions)
        hidden = 1 - (self.directions**2).sum(1)
        return np.where(hidden > 1e-6, np.inf, np.sqrt(shares))


def uncertainty_of(
    found: Information, step: np.ndarray, inflation: float = 1.0, seed: int = 0
) -> Uncertainty:
    """Returns how uncertain the rows are at their best values, where the scores sum to about zero.

    Args:
        found: information and scores of each window, at the best values.
        step: (D,) how far these are from the best values under other weights; where that is beyond
            `FAR` deviations the model is wrong, or the fit unfinished, and the step counts.
        inflation: factor of all deviations, e.g. held-out over training error; at least 1.
        seed: of the bootstrap.
    """
    values, directions = seen_directions(found.matrix.sum(0))
    bread = 1 / values
    matrix = np.einsum("de,wdf,fg->weg", directions, found.matrix, directions)
    score = found.score @ directions
    half = {"the noise": NORMAL * np.sqrt(bread), STEP: NORMAL * np.abs(step @ directions) / FAR}
    windows = np.diag(bread)
    for what, cluster in _clusterings(found.recording):
        q, g = _summed(matrix, cluster), _summed(score, cluster)
        covariance, freedom = _sandwich(q, g, bread)
        windows = covariance if what == WINDOWS else windows
        width = student.ppf(0.5 + CONFIDENCE / 2, freedom)
        half[what] = width * np.sqrt(np.diag(covariance))
        half[f"{what}, drawn anew"] = width * _bootstrap(q, g, bread, seed)
    share = min(max(len(bread) / len(found.recording), 0.02), 1.0)
    base = (1 - share) * windows + share * np.diag(bread)
    widths = np.array(list(half.values())).reshape(len(half), -1)
    grown = max(inflation, 1.0) * widths.max(0) / NORMAL / np.sqrt(np.diag(base))
    covariance = grown[:, None] * base * grown
    precision = directions @ np.linalg.inv(covariance) @ directions.T
    names = tuple(list(half)[i] for i in widths.argmax(0))
    return Uncertainty(directions, covariance, (precision + precision.T) / 2, names)


def _clusterings(recording: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yields names of clusterings and the cluster (W,) of each window, windows first."""
    windows = len(recording)
    yield WINDOWS, np.arange(windows)
    size = 2
    while windows / size >= LEAST_CLUSTERS:
        place = np.zeros(windows, int)
        for number in np.unique(recording):
            mine = np.flatnonzero(recording == number)
            place[mine] = np.arange(len(mine)) // size
        _, blocks = np.unique(np.stack([recording, place]), axis=1, return_inverse=True)
        yield f"blocks of {size} windows", blocks.reshape(-1)
        size *= 2
    numbers, recordings = np.unique(recording, return_inverse=True)
    if LEAST_CLUSTERS <= len(numbers) < windows:
        yield "recordings", recordings.reshape(-1)


def _summed(parts: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """Returns (G, ...) the sums of parts (W, ...) over each cluster."""
    out = np.zeros((cluster.max() + 1, *parts.shape[1:]))
    np.add.at(out, cluster, parts)
    return out


def _sandwich(q: np.ndarray, g: np.ndarray, bread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the CR2 covariance (E, E) and the degrees of freedom (E,) of its diagonal.

    Args:
        q: (G, E, E) information of each cluster.
        g: (G, E) its score.
        bread: (E,) inverse of the information in all, which is diagonal here.
    """
    root = np.sqrt(bread)
    leverage = root[:, None] * q * root
    values, vectors = np.linalg.eigh(leverage)
    left = np.maximum(1 - values, LEAST_LEFT) ** -0.5
    grow = (vectors * left[:, None, :]) @ vectors.swapaxes(1, 2)
    scores = np.einsum("gef,gf->ge", grow, g * root)  # of sum 0 in coordinates of information 1
    covariance = root[:, None] * (scores.T @ scores) * root
    weights = np.einsum("gef,gfh->geh", leverage, grow)  # b_g of direction h is weights[:, :, h]
    own = np.einsum("geh,geh->gh", grow, weights)
    freedom = []
    for h in range(len(bread)):
        b = weights[:, :, h]
        gram = np.diag(own[:, h]) - b @ b.T
        freedom.append(np.trace(gram) ** 2 / max((gram**2).sum(), 1e-300))
    return covariance, np.maximum(np.array(freedom), LEAST_FREEDOM)


def _bootstrap(q: np.ndarray, g: np.ndarray, bread: np.ndarray, seed: int) -> np.ndarray:
    """Returns (E,) deviations of the one-step fit when clusters weigh as a bootstrap says."""
    weight = np.random.default_rng(seed).exponential(size=(BOOTSTRAPS, len(q)))
    total = np.einsum("bg,gef->bef", weight, q) + 1e-3 * SEEN * np.eye(len(bread))
    steps = np.linalg.solve(total, (weight @ g)[..., None])[..., 0]
    return np.asarray(np.sqrt((steps**2).mean(0)))
