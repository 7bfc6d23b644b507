"""What each window says of the rows: information and score, its own start state eliminated.

A window's residual is r = J dz + S ds + e with whitened noise e; its start state is known to
``start_std``. The best ds for every dz is put in (the Schur complement of the normal equations,
Boyd and Vandenberghe 2004, Convex Optimization, A.5.5), which leaves for the D rows

    information  Q = J'J - J'S (S'S + P)^-1 S'J        P = diag(start_std)^-2
    score        g = J'(r - S ds)

so that the rows' best step is (sum Q)^-1 sum g. Everything else is made from these D by D numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mjx_s2r.transfer.linearization import Linearization
from mjx_s2r.transfer.noise import Noise, estimate_noise, white_noise, whiten

SEEN = 1.0  # information from which a direction counts: a deviation as wide as the limits
ROUGH = 1e-5  # share of an information that derivatives with an error of 0.3 % feign
PASSES = 2  # of fitting the noise and the start states under it in turn


@dataclass(frozen=True, eq=False)
class Information:
    """What W windows say of D rows.

    Attributes:
        matrix: (W, D, D) information of each window, in unit coordinates.
        score: (W, D) slope of its log likelihood there.
        misfit: (W,) sum of its squared whitened residuals, start state at its best.
        readings: (W,) how many it has.
        start: (W, S) best step of its start state where the rows stay.
        start_slope: (W, S, D) change of that step with the rows.
        start_used: (W,) how many of its readings the start state takes up, at most S.
        channel: (C, D) information of each channel on each row alone, start states known.
        recording: (W,) number of the recording that each window is of.
    """

    matrix: np.ndarray
    score: np.ndarray
    misfit: np.ndarray
    readings: np.ndarray
    start: np.ndarray
    start_slope: np.ndarray
    start_used: np.ndarray
    channel: np.ndarray
    recording: np.ndarray

    def step(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Returns (D,) the step that fits best with every row's own between two bounds (D,).

        Rows at a bound that want to leave are held there and the others solved again (an active
        set). Directions that hold less information than `SEEN` do not move: the step would be as
        long as the limits are apart.
        """
        total, score = self.matrix.sum(0), self.score.sum(0)
        step, free = np.zeros(len(score)), np.ones(len(score), bool)
        for _ in range(len(score) + 1):
            rest = score - total @ np.where(free, 0.0, step)
            step[free] = _solve(total[np.ix_(free, free)], rest[free])
            out = free & ((step < low) | (step > high))
            if not out.any():
                break
            step = np.clip(step, low, high)
            free &= ~out
        return step

    def moved(self, step: np.ndarray) -> "Information":
        """Returns the same of rows that are moved by ``step`` (D,), as long as all is linear."""
        pull = np.einsum("wde,e->wd", self.matrix, step)
        return replace(
            self,
            score=self.score - pull,
            misfit=self.misfit - (2 * self.score - pull) @ step,
            start=self.start + self.start_slope @ step,
        )

    def typical_misfit(self) -> float:
        """Returns the mean squared whitened residual of a reading in the median window.

        It is about 1 where the noise is right; a few windows that went wrong do not change it.
        """
        free = self.readings - self.start_used
        some = free > 0
        return float(np.median(self.misfit[some] / free[some])) if some.any() else 1.0


def seen_directions(total: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns principal values (E,) and directions (D, E) of what an information (D, D) sees.

    They hold more than `SEEN`, after the share `ROUGH` of every row's own information is taken
    off, since derivatives are not exact: differences across a direction that changes nothing leave
    traces, which the large information of its rows would make count.
    """
    values, vectors = np.linalg.eigh(total - ROUGH * np.diag(np.diag(total)))
    seen = values > SEEN
    return values[seen], vectors[:, seen]


def _solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Returns the solution of a symmetric system in the directions that it determines."""
    values, vectors = seen_directions(matrix)
    return np.asarray(vectors @ (vectors.T @ right / values))


def information_of(linearization: Linearization, noise: Noise) -> Information:
    """Returns what the windows of a linearization say of its rows, under a noise."""
    lin, rows = linearization, len(linearization.z)
    moving = lin.start_std > 0
    starts = lin.start_jacobian[..., moving]
    parts = [lin.jacobian, starts, lin.residual[..., None]]
    columns, total = np.concatenate(parts, -1), 0.0
    channel = np.zeros((lin.residual.shape[-1], rows))
    seen = np.isfinite(columns).all(-1)
    for c in range(lin.residual.shape[-1]):
        white = whiten(noise, c, lin.time_s, seen[..., c], columns[:, :, c])
        gram = white.swapaxes(1, 2) @ white
        channel[c] = gram[:, range(rows), range(rows)].sum(0)
        total = total + gram
    gram = np.asarray(total)
    first, last = slice(rows), slice(rows, -1)
    prior = np.diag(1 / lin.start_std[moving] ** 2)
    shift = lin.start_shift[:, moving]
    inner = gram[:, last, last] + prior + 1e-12 * np.eye(len(prior))
    right = gram[:, last, -1] - shift @ prior
    both = np.linalg.solve(inner, np.concatenate([gram[:, last, first], right[..., None]], -1))
    cross, best = both[..., :-1], both[..., -1]
    start, slope = np.zeros(lin.start_shift.shape), np.zeros((*lin.start_shift.shape, rows))
    start[:, moving], slope[:, moving] = best, -cross
    return Information(
        matrix=gram[:, first, first] - gram[:, first, last] @ cross,
        score=gram[:, first, -1] - np.einsum("wds,ws->wd", gram[:, first, last], best),
        misfit=gram[:, -1, -1] + ((shift @ prior) * shift).sum(-1) - (right * best).sum(-1),
        readings=seen.sum((1, 2)),
        start=start,
        start_slope=slope,
        start_used=np.trace(np.linalg.solve(inner, gram[:, last, last]), axis1=1, axis2=2),
        channel=channel,
        recording=lin.recording,
    )


def left_over(linearization: Linearization, found: Information, step: np.ndarray) -> np.ndarray:
    """Returns (W, K, C) what rows moved by ``step`` (D,) and start states at their best leave."""
    change = linearization.jacobian @ step
    start = found.moved(step).start
    change += np.einsum("wkcs,ws->wkc", linearization.start_jacobian, start)
    return np.asarray(linearization.residual - change)


def fitted_noise(
    linearization: Linearization, quantum: Sequence[float] | np.ndarray | None = None
) -> Noise:
    """Returns the noise that a fit leaves, from the residuals of its windows.

    Rows and start states are put at their best by one linear step first, under white noise, so that
    a fit that has not quite converged does not count as noise.

    Args:
        linearization: near the best values.
        quantum: (C,) step of each channel's readings, in its unit; None: unknown.
    """
    lin = linearization
    known = np.zeros(len(lin.noise_std)) if quantum is None else np.asarray(quantum, float)
    noise = white_noise(lin.noise_std)
    for _ in range(PASSES):
        found = information_of(lin, noise)
        residual = left_over(lin, found, found.step(-lin.z, 1 - lin.z))
        noise = estimate_noise(lin, residual, float(found.start_used.sum()) + len(lin.z), known)
    return noise
