"""Job engine of a sweep: submitit's executor, a GPU for each job, so many at a time."""

import math
import os
import re
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mjx_s2r.io.run import RunError
from mjx_s2r.runtime.progress import print_line
from train.sweeping.job import Job, Settings, held

VISIBLE = "CUDA_VISIBLE_DEVICES"
PLATFORMS = "JAX_PLATFORMS"
FRACTION = "XLA_PYTHON_CLIENT_MEM_FRACTION"
FRACTIONS = (FRACTION, "XLA_CLIENT_MEM_FRACTION")  # jax refuses both at once
SHARED = 0.9  # of a GPU's memory, for all of its runs together

DELAY = "signal_delay_s"
DELAYS_S = {"local": 30, "slurm": 90}  # submitit's own: from its signal to the end of a job
REQUEUES = 50  # how often SLURM's time may run out in one run


def numbers(name: str, text: str) -> tuple[str, ...]:
    """Returns the whole numbers that the option ``name`` lists: 0..4, or 1,5,7.

    Raises:
        RunError: it lists none.
    """
    out: list[str] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", part.strip())
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise RunError(
                f"{name} {text!r}: {part!r} is neither a number nor first..last; write 0..3 or 1,5"
            )
        out += map(str, range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(dict.fromkeys(out))


def places(gpus: str, at_once: int, runs: int) -> list[Settings]:
    """Returns the environment variables that give each run at the same time its GPUs.

    submitit hides all GPUs from a job on this machine that asks for none. So without ``gpus`` a run
    sees what the sweep itself sees. With them, a run that cannot have its GPU fails, where
    jax would train on the CPU instead.

    Args:
        gpus: numbers of GPUs; empty: every run sees those that the sweep sees.
        at_once: how many runs; 0 is one, or as many as there are ``gpus``.
        runs: how many there are in all.

    Raises:
        RunError: a negative number of runs, or GPUs that are no numbers or that are hidden here.
    """
    if at_once < 0:
        raise RunError(f"at_once {at_once}: write how many runs at a time, or 0")
    env = os.environ
    if not gpus:
        return [((VISIBLE, env.get(VISIBLE)),)] * min(at_once or 1, runs)
    found = numbers("gpus", gpus)
    hidden = [n for n in found if VISIBLE in env and n not in env[VISIBLE].split(",")]
    if hidden:
        raise RunError(
            f"gpus {gpus!r}: {VISIBLE} is {env[VISIBLE]!r} and hides {hidden[0]}; name GPUs of "
            f"those, or take {VISIBLE} away"
        )
    count, out = min(at_once or len(found), runs), list[Settings]()
    for slot in range(count):
        place = [(VISIBLE, found[slot % len(found)]), (PLATFORMS, env.get(PLATFORMS, "cuda,cpu"))]
        sharers = len(range(slot % len(found), count, len(found)))
        if sharers > 1 and not any(name in env for name in FRACTIONS):
            place.append((FRACTION, f"{math.floor(SHARED / sharers * 1000) / 1000:g}"))
        out.append(tuple(place))
    return out


def slurm_options(texts: Sequence[str]) -> dict[str, str | int]:
    """Returns options of SLURM, each written as name=value.

    Raises:
        RunError: one is not.
    """
    out: dict[str, str | int] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not name or not value:
            raise RunError(f"slurm {text!r}: write name=value, e.g. gpus_per_node=1")
        out[name] = int(value) if value.isdecimal() else value
    return out


def grace_s(where: str, options: Mapping[str, str | int]) -> float:
    """Returns how long a job may wait for its command: most of the time that a signal leaves, s.

    Raises:
        RunError: an option gives that time, and not as a number.
    """
    delay_s = options.get(DELAY, DELAYS_S[where])
    if not isinstance(delay_s, int):
        raise RunError(f"slurm {DELAY}={delay_s}: write whole seconds, e.g. {DELAY}=120")
    return 2 / 3 * delay_s


def executor(folder: Path, where: str, hours: float, options: Mapping[str, str | int]) -> Any:
    """Returns the engine that starts jobs.

    Raises:
        RunError: submitit is not installed, there is no SLURM, or it does not know an option.
    """
    try:
        import submitit
    except ModuleNotFoundError as error:
        raise RunError(
            "a sweep needs submitit: pip install 'submitit>=1.5' (or the extra 'sweep')"
        ) from error
    if where == "slurm" and shutil.which("srun") is None:
        raise RunError(
            "where slurm: this machine has no srun; start the sweep on one of the cluster's, or "
            "take --where local"
        )
    # On this machine a run ends when its time is up: to queue it again would give it more.
    again = {"local_max_num_timeout": 0, "slurm_max_num_timeout": REQUEUES}
    engine = submitit.AutoExecutor(folder, cluster=where, **again)
    engine.update_parameters(timeout_min=math.ceil(hours * 60), name="mjx_s2r")
    try:
        engine.update_parameters(**{f"slurm_{name}": value for name, value in options.items()})
    except NameError as error:  # submitit's own, with what it knows
        raise RunError(f"slurm {' '.join(options)}: {error}") from error
    return engine


def run_all(
    lines: Mapping[str, Sequence[str]], engine: Any, slots: Sequence[Settings], grace_s: float
) -> dict[str, str]:
    """Runs the command of every name, one at a time in every slot; returns what became of each.

    Raises:
        KeyboardInterrupt: asked to stop; on this machine, what ran has saved and ended.
    """
    waiting, became = list(lines), dict[str, str]()
    free, running = list(slots), dict[str, tuple[Any, Settings]]()
    try:
        while waiting or running:
            while waiting and free:
                name, slot = waiting.pop(0), free.pop(0)
                with held(signal.SIGINT):  # a job must not get the Ctrl-C that is for the sweep
                    job = engine.submit(Job(tuple(lines[name]), slot, grace_s))
                    running[name] = job, slot
                print_line(f"started {name} as job {job.job_id}, {len(waiting)} more to start")
            for name in [n for n, (job, _) in running.items() if job.done()]:
                job, slot = running.pop(name)
                free.append(slot)
                became[name] = _outcome(job)
                where = "" if became[name] == "ended" else f"; what it said: {job.paths.stderr}"
                print_line(f"{name} {became[name]}{where}")
            time.sleep(0.2)
    except KeyboardInterrupt:
        _stop([job for job, _ in running.values()], engine.cluster == "local")
        raise
    return became


def _stop(jobs: Sequence[Any], local: bool) -> None:
    """Stops jobs; on this machine waits until each has saved and ended, or Ctrl-C comes again.

    submitit cancels a job on this machine with one second's notice, which is too short to save. Its
    process passes SIGTERM on to the job and waits, and a job passes on the first only; it is sent
    again until it has come through, for one may come before there is a job to take it.
    """
    if not local:
        for job in jobs:
            job.cancel()
        return
    print_line(f"stopping {len(jobs)} runs; each saves first (Ctrl-C again: do not wait for them)")
    while left := [job for job in jobs if not job.done()]:
        for job in left:
            with suppress(ProcessLookupError):
                os.kill(int(job.job_id), signal.SIGTERM)
        time.sleep(1.0)


def _outcome(job: Any) -> str:
    """Returns what became of a job, in words."""
    try:
        status = job.result()
    except Exception as error:
        said = str(error).partition("You can check full logs")[0].splitlines()
        last = [line for line in said if line.strip("- ")][-1:] or [type(error).__name__]
        return "out of time" if "timed-out" in last[0] else f"failed: {last[0][:80]}"
    return "ended" if status == 0 else f"exit status {status}"
