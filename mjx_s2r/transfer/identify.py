"""Identification from recordings to a posterior: checks, search, fit, intervals, verdict.

What comes of it is judged by recordings, or stretches of them, that the fit never saw: the error of
an open-loop simulation before and after, and how many of their readings lie inside the interval
that posterior, start state and residuals predict for them.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from scipy.stats import qmc

from mjx_s2r.io.run import write_json
from mjx_s2r.transfer import identifiability
from mjx_s2r.transfer.differences import linearize, quick_replay
from mjx_s2r.transfer.fit import Fit, RowFitConfig, fit_rows, linearize_fit, weighted
from mjx_s2r.transfer.identifiability import Identifiability
from mjx_s2r.transfer.inference import posterior_of
from mjx_s2r.transfer.posterior import Posterior
from mjx_s2r.transfer.problem import IdentifyProblem
from mjx_s2r.transfer.result import Identification, SignalFit
from mjx_s2r.transfer.simulator import ReplaySimulator
from mjx_s2r.transfer.unit_coordinates import nominal_z, unit_of, values_at
from mjx_s2r.transfer.windows import (
    Windows,
    channel_noise,
    cut_windows,
    some_windows,
    unread_in,
)

PROBES = 4  # points at which it is asked what the logs can tell, beside the nominal one
PROBED = 32  # windows that are looked at there, evenly over the recordings
PREDICTED = 48  # samples that are simulated for the predicted interval
AGES = 6  # parts of a window in which residuals are pooled
NORMAL = 1.96

Report = Callable[[str, float, float], None]


@dataclass(frozen=True, eq=False)
class PreparedWindows:
    """A problem cut into windows and checked.

    Attributes:
        problem: rows and recordings.
        simulator: of its windows.
        can_tell: what the logs can tell of the rows, before any fit.
    """

    problem: IdentifyProblem
    simulator: ReplaySimulator
    can_tell: Identifiability

    @property
    def windows(self) -> Windows:
        """The windows of the recordings."""
        return self.simulator.windows


def prepare_windows(problem: IdentifyProblem, config: RowFitConfig) -> PreparedWindows:
    """Cuts recordings into windows and asks what they can tell, at a few points of the table.

    Raises:
        RecordingError: nothing left to fit.
        IdentifiabilityError: the logs say nothing of any row.
        ParamError, ModelError: a row that does not fit the model.
    """
    windows = cut_windows(problem.recordings, config.window_s, config.held_out)
    simulator = ReplaySimulator(problem, windows)
    size = len(problem.space)
    spread = qmc.Sobol(size, seed=config.seed).random(PROBES)
    noise, which = channel_noise(windows), ~windows.held_out
    some = some_windows(which, PROBED)
    nominal = linearize(simulator, nominal_z(problem.space), windows.start, which, noise)
    local = [
        linearize(simulator, z, windows.start, some, noise, central=False)
        for z in 0.1 + 0.8 * spread
    ]
    found = identifiability.check([nominal, *local], windows=int(which.sum()))
    found.require()
    return PreparedWindows(problem, simulator, found)


def identify(
    prepared: PreparedWindows,
    config: RowFitConfig,
    report: Report = lambda stage, share, cost: None,
    keep: Path | None = None,
    quantum: np.ndarray | None = None,
) -> Identification:
    """Fits the rows and says how sure they are.

    Args:
        prepared: from `prepare_windows`.
        config: settings of the fit.
        report: called with the stage, how much of it is done, 0 to 1, and the lowest cost.
        keep: file that holds the fit once it is found; the same problem with the same settings
            goes on from there.
        quantum: (C,) step of each channel's readings, 0 for none.
    """
    began = time.perf_counter()
    problem, simulator = prepared.problem, prepared.simulator
    key = _fingerprint(prepared, config)
    kept = _kept(keep, key)
    if kept is None:
        made = fit_rows(simulator, config, report)
        _keep(keep, key, made)
    else:
        z, start, noise, trace = kept
        made = refit(simulator, z, start, noise, trace)
    windows = simulator.windows
    held_out = None
    if windows.held_out.any():
        held_out = linearize_fit(simulator, made.z, made.start, windows.held_out, made.noise_std)
    posterior = posterior_of(
        made.linearization,
        task=problem.name,
        logs=[r.name for r in problem.recordings],
        quantum=quantum,
        held_out=held_out,
        seed=config.seed,
    )
    report("predict", 0.0, made.cost)
    fits = _signal_fits(simulator, made, posterior)
    posterior = replace(posterior, notes=(*posterior.notes, *problem.notes))
    return Identification(
        posterior=posterior,
        fits=fits,
        trace=made.trace,
        noise_std=made.noise_std,
        channels=windows.channels,
        seconds=time.perf_counter() - began,
        warnings=(*_warnings(posterior, fits), *_windowless(windows)),
    )


def refit(
    simulator: ReplaySimulator,
    z: np.ndarray,
    start: np.ndarray,
    noise_std: np.ndarray,
    trace: np.ndarray,
) -> Fit:
    """Returns a fit that was found before."""
    local = linearize_fit(simulator, z, start, ~simulator.windows.held_out, noise_std)
    cost = float(trace[-1, 1]) if len(trace) else float("nan")
    return Fit(simulator.space, z, start, cost, noise_std, weighted(local), trace)


def _signal_fits(
    simulator: ReplaySimulator, made: Fit, posterior: Posterior
) -> tuple[SignalFit, ...]:
    """Returns measured and simulated readings of every recording, with predicted intervals.

    All windows start from the states that were estimated from the readings, held out or not.
    """
    windows = simulator.windows
    nominal, best = simulator.predict(
        np.stack([values_at(simulator.space, nominal_z(simulator.space)), posterior.best])
    )
    places = np.linspace(0, len(posterior.samples) - 1, PREDICTED).round().astype(int)
    everyone = np.ones(len(windows), bool)
    left = windows.readings - best
    z = unit_of(simulator.space, posterior.best)
    quick = quick_replay(simulator, z, windows.start, everyone, left)
    drawn = quick.predict(posterior.samples[np.unique(places)])
    spread = np.var(np.nan_to_num(drawn), axis=0)
    local = linearize(
        simulator, made.z, windows.start, everyone, made.noise_std, central=False, by_rows=False
    )
    begin = ((local.start_jacobian * windows.start_std) ** 2).sum(-1)
    left = _left_by_age(windows, left)
    half = NORMAL * np.sqrt(spread + begin + np.maximum(left, channel_noise(windows)) ** 2)
    found = []
    for number, recording in enumerate(windows.recordings):
        for held_out in (False, True):
            mine = (windows.recording == number) & (windows.held_out == held_out)
            if not mine.any():
                continue
            found.append(
                SignalFit(
                    name=recording.name,
                    held_out=held_out,
                    channels=windows.channels,
                    time_s=windows.time_s[mine] + windows.start_s[mine, None],
                    measured=windows.readings[mine],
                    nominal=nominal[mine],
                    fitted=best[mine],
                    low=best[mine] - half[mine],
                    high=best[mine] + half[mine],
                )
            )
    return tuple(found)


def _left_by_age(windows: Windows, residual: np.ndarray) -> np.ndarray:
    """Returns (W, K, C) what the fit usually leaves at that age of a window, in fitted windows."""
    age = windows.time_s / np.nanmax(windows.time_s)
    part = np.clip(np.nan_to_num(age * AGES), 0, AGES - 1).astype(int)
    out = np.zeros(residual.shape)
    fitted = ~windows.held_out
    for c in range(residual.shape[-1]):
        for k in range(AGES):
            mine = residual[fitted][..., c][(part == k)[fitted]]
            mine = mine[np.isfinite(mine)]
            size = float(np.sqrt(np.mean(mine**2))) if len(mine) else 0.0
            out[..., c][part == k] = size
    return out


def _warnings(posterior: Posterior, fits: Sequence[SignalFit]) -> tuple[str, ...]:
    """Returns what makes the numbers doubtful."""
    found = []
    if posterior.at_bound:
        found.append(
            f"the best value of {', '.join(posterior.at_bound)} lies at a limit: the truth may lie "
            "beyond it, or the model lacks something that these rows make up for; widen the limits "
            "by --limits and look again"
        )
    if posterior.unseen:
        found.append(f"the logs do not tell {', '.join(posterior.unseen)}: these keep their limits")
    for held in (f for f in fits if f.held_out):
        worse = held.error("fitted") > held.error("nominal")
        if np.any(worse):
            names = ", ".join(str(c) for c, bad in zip(held.channels, worse, strict=True) if bad)
            found.append(
                f"{held.name}: the fit is worse than the nominal model in {names}, which was held "
                "out; it moves otherwise than what was fitted"
            )
    return tuple(found)


def _windowless(windows: Windows) -> list[str]:
    """Returns what there is to say of recordings in which no window begins."""
    used = set(windows.recording.tolist())
    left = [r for number, r in enumerate(windows.recordings) if number not in used]
    return [
        unread_in(r, windows.joints)
        or f"{r.name} is too short, or has too few readings, for a window; it was not fitted"
        for r in left
    ]


def _fingerprint(prepared: PreparedWindows, config: RowFitConfig) -> str:
    """Returns a hash of everything that a fit follows from."""
    digest = sha256(json.dumps([asdict(config), repr(prepared.problem.space.rows)]).encode())
    for r in prepared.problem.recordings:
        for array in (r.time_s, r.commands, r.driven, r.readings):
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(repr((sorted(r.constants.items()), r.held_out)).encode())
    model = prepared.problem.mj_model
    whole = np.zeros(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, whole)
    digest.update(whole.tobytes())
    return digest.hexdigest()


def _keep(path: Path | None, key: str, made: Fit) -> None:
    """Writes a fit, so that what follows it may be done again."""
    if path is None:
        return
    body: dict[str, Any] = {"key": key}
    for name in ("z", "start", "noise_std", "trace"):
        body[name] = np.asarray(getattr(made, name)).tolist()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, body)


def _kept(
    path: Path | None, key: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None:
    """Returns a fit that was kept of the same problem; None where there is none."""
    if path is None or not path.is_file():
        return None
    try:
        body = json.loads(path.read_text())
        if body["key"] != key:
            return None
        z, start, noise, trace = (
            np.array(body[name], float) for name in ("z", "start", "noise_std", "trace")
        )
    except (ValueError, KeyError, TypeError):
        return None
    return z, start, noise, trace.reshape(-1, 2)
