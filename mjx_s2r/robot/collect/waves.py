"""Waves for identification: chirps, sums of sines, noise of a band, steps; each within [-1, 1].

A wave begins and ends at zero and at rest. Frequencies are Hz, times s.
"""

import math

import numpy as np

FADE_S = 1.0  # longest time in which a wave grows from nothing and goes back to it


def linear_chirp(time_s: np.ndarray, first_hz: float, last_hz: float) -> np.ndarray:
    """Returns a sine (T,) whose frequency grows by the same amount in every second.

    Phase 2 pi (f0 t + (f1 - f0) t^2 / (2 T)), as `scipy.signal.chirp` has it.
    """
    total = time_s[-1]
    phase = first_hz * time_s + (last_hz - first_hz) * time_s**2 / (2 * total)
    return _faded(time_s, np.sin(2 * np.pi * phase))


def log_chirp(time_s: np.ndarray, first_hz: float, last_hz: float) -> np.ndarray:
    """Returns a sine (T,) whose frequency grows by the same factor in every second.

    Phase 2 pi f0 T / ln(f1 / f0) ((f1 / f0)^(t / T) - 1); Farina, "Simultaneous measurement of
    impulse response and distortion with a swept-sine technique", AES 2000, eq. 9.
    """
    total, ratio = time_s[-1], math.log(last_hz / first_hz)
    if abs(ratio) < 1e-9:
        return linear_chirp(time_s, first_hz, last_hz)
    phase = first_hz * total / ratio * (np.exp(ratio * time_s / total) - 1)
    return _faded(time_s, np.sin(2 * np.pi * phase))


def multi_sine(
    time_s: np.ndarray, first_hz: float, last_hz: float, shift: float = 0.0
) -> np.ndarray:
    """Returns a sum (T,) of equally strong sines with the low peak of Schroeder's phases.

    It is periodic; ``shift``, a share of its period, says where in it the wave begins.

    Phases -pi k (k - 1) / N; Schroeder, "Synthesis of low-peak-factor signals and binary sequences
    with low autocorrelation", IEEE Trans. Inf. Theory 16(1), 1970, eq. 11.
    """
    lines = _lines(time_s[-1], first_hz, last_hz)
    k = np.arange(1, len(lines) + 1)
    later_s = time_s + shift * time_s[-1]
    return _faded(time_s, _sum(later_s, lines, -np.pi * k * (k - 1) / len(lines)))


def band_noise(
    time_s: np.ndarray, first_hz: float, last_hz: float, rng: np.random.Generator
) -> np.ndarray:
    """Returns noise (T,) with a flat spectrum between two frequencies and nothing outside.

    A sum of sines of random phase; it is Gaussian in the limit of many lines (Shinozuka and
    Deodatis, "Simulation of stochastic processes by spectral representation", 1991, eq. 46).
    """
    lines = _lines(time_s[-1], first_hz, last_hz)
    return _faded(time_s, _sum(time_s, lines, rng.uniform(0, 2 * np.pi, len(lines))))


def minimum_jerk(share: np.ndarray) -> np.ndarray:
    """Returns the way (T,) from 0 to 1 of least jerk, at a share (T,) of its time.

    10 s^3 - 15 s^4 + 6 s^5; Flash and Hogan, "The coordination of arm movements", 1985.
    """
    s = np.clip(share, 0.0, 1.0)
    return s**3 * (10 - 15 * s + 6 * s**2)


def steps(time_s: np.ndarray, hold_s: float, rise_s: float) -> np.ndarray:
    """Returns steps (T,) to 1, 0, -1 and 0 in turn, each ``hold_s`` long, with smooth edges.

    Only whole rounds are made, so that the wave ends at zero.
    """
    levels = np.array([0.0, 1.0, 0.0, -1.0])
    number = np.floor(time_s / hold_s).astype(int)
    last = 4 * int((time_s[-1] - rise_s) / (4 * hold_s))
    number = np.minimum(number, last)
    before, after = levels[(number - 1) % 4], levels[number % 4]
    before = np.where(number == 0, 0.0, before)
    return before + (after - before) * minimum_jerk((time_s - number * hold_s) / rise_s)


def _lines(total_s: float, first_hz: float, last_hz: float) -> np.ndarray:
    """Returns (N,) frequencies that make whole periods in a time, Hz; at least one."""
    first = max(1, math.ceil(first_hz * total_s - 1e-9))
    last = max(first, math.floor(last_hz * total_s + 1e-9))
    return np.arange(first, last + 1) / total_s


def _sum(time_s: np.ndarray, lines: np.ndarray, phases: np.ndarray) -> np.ndarray:
    """Returns the sum (T,) of cosines, the largest value made 1."""
    wave = np.zeros_like(time_s)
    for hz, phase in zip(lines, phases, strict=True):
        wave += np.cos(2 * np.pi * hz * time_s + phase)
    return wave / np.max(np.abs(wave))


def _faded(time_s: np.ndarray, wave: np.ndarray) -> np.ndarray:
    """Returns a wave (T,) that grows from nothing by minimum jerk and goes back to it."""
    fade_s = min(FADE_S, time_s[-1] / 4)
    return wave * minimum_jerk(time_s / fade_s) * minimum_jerk((time_s[-1] - time_s) / fade_s)
