"""A fit about one point: residuals of every window and how they change with rows and start states.

It is all that intervals, samples and checks of identifiability need; how predictions come about is
the business of `mjx_s2r.transfer.simulator`.
"""

from dataclasses import dataclass

import numpy as np

from mjx_s2r.params import ParamSpace


@dataclass(frozen=True, eq=False)
class Linearization:
    """W windows of K readings in C channels, D rows, S numbers of a window's start state.

    Rows are told by their unit coordinate z: 0 at the low limit, 1 at the high one, linear in the
    logarithm of a log_uniform row and in the value of the others.

    Attributes:
        space: the D rows that are fitted.
        z: (D,) where it was made.
        residual: (W, K, C) reading minus prediction; NaN where there is no reading.
        jacobian: (W, K, C, D) change of the prediction with z.
        start_jacobian: (W, K, C, S) change of the prediction with the window's own start state.
        start_std: (S,) prior deviation of the start states about what was measured.
        start_shift: (W, S) how far each start state was moved from what was measured.
        time_s: (W, K) time of the readings since the window began, s.
        recording: (W,) number of the recording that each window is of.
        noise_std: (C,) deviation of a channel's noise, as far as it is known; the fit's weights.
    """

    space: ParamSpace
    z: np.ndarray
    residual: np.ndarray
    jacobian: np.ndarray
    start_jacobian: np.ndarray
    start_std: np.ndarray
    start_shift: np.ndarray
    time_s: np.ndarray
    recording: np.ndarray
    noise_std: np.ndarray
