"""An identification in full: the posterior, and how well it explains what was measured."""

from dataclasses import dataclass

import numpy as np

from mjx_s2r.transfer.posterior import Posterior
from mjx_s2r.transfer.recording import Channel


@dataclass(frozen=True, eq=False)
class SignalFit:
    """One recording, measured and simulated: W windows of K readings in C channels.

    A window is simulated in open loop from its own start state, by the recorded commands.

    Attributes:
        name: of the recording.
        held_out: whether it was kept from the fit.
        channels: (C,) what was measured.
        time_s: (W, K) on the recording's clock, s; NaN behind the end of a shorter window.
        measured: (W, K, C) readings; NaN where there is none.
        nominal: (W, K, C) prediction of the model as it was written.
        fitted: (W, K, C) prediction at the best values.
        low: (W, K, C) low end of the 95 % interval that posterior and noise predict for a reading.
        high: (W, K, C) its high end.
    """

    name: str
    held_out: bool
    channels: tuple[Channel, ...]
    time_s: np.ndarray
    measured: np.ndarray
    nominal: np.ndarray
    fitted: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def error(self, which: str = "fitted") -> np.ndarray:
        """Returns (C,) the root mean square error of "fitted" or "nominal"; NaN if unread."""
        apart = getattr(self, which) - self.measured
        seen = np.isfinite(apart)
        total = np.where(seen, apart, 0.0) ** 2
        count = seen.sum((0, 1))
        return np.sqrt(total.sum((0, 1)) / np.where(count > 0, count, np.nan))

    def coverage(self) -> np.ndarray:
        """Returns (C,) the share of the readings that lie inside the 95 % interval."""
        seen = np.isfinite(self.measured) & np.isfinite(self.low)
        inside = seen & (self.low <= self.measured) & (self.measured <= self.high)
        count = seen.sum((0, 1))
        return inside.sum((0, 1)) / np.where(count > 0, count, np.nan)


@dataclass(frozen=True, eq=False)
class Identification:
    """Everything that `train identify` found.

    Attributes:
        posterior: the rows' values, intervals and samples.
        fits: every recording, fitted and held out.
        trace: (G, 2) simulated windows so far, and the best cost then (1 is the noise's).
        noise_std: (C,) deviation of each channel's noise.
        channels: (C,) what was measured.
        seconds: wall clock of the search and the intervals, s.
        warnings: what the logs or the fit make doubtful, a sentence each.
    """

    posterior: Posterior
    fits: tuple[SignalFit, ...]
    trace: np.ndarray
    noise_std: np.ndarray
    channels: tuple[Channel, ...]
    seconds: float
    warnings: tuple[str, ...] = ()
