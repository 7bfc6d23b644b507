"""The wait before training starts: the first iteration with an empty compile cache and a full one.

Takes more than a minute: two processes, the first of which compiles everything.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.rows import Row, Settings
from mjx_s2r.runtime.devices import CACHE_ENV

ROOT = Path(__file__).parents[1]
TIMEOUT_S = 900  # some versions of jaxlib can wait for ever: see devices.py


def run(settings: Settings) -> list[Row]:
    """Returns cold and warm seconds, the cache's size, and how far the two results differ.

    "cold" and "warm" begin when the settings are known, "command" when the process starts: it also
    counts importing JAX and MuJoCo and starting the backend.
    """
    with tempfile.TemporaryDirectory() as cache:
        cold, warm = (_first("reach", settings.num_envs, Path(cache)) for _ in range(2))
        size = sum(f.stat().st_size for f in Path(cache).rglob("*") if f.is_file())
    return [
        Row("compile", "cold", cold["seconds"], "s"),
        Row("compile", "warm", warm["seconds"], "s"),
        Row("compile", "warm_over_cold", warm["seconds"] / cold["seconds"], "1"),
        Row("compile", "command_cold", cold["command"], "s"),
        Row("compile", "command_warm", warm["command"], "s"),
        Row("compile", "command_warm_over_cold", warm["command"] / cold["command"], "1"),
        Row("compile", "cache_size", size / 1e6, "MB"),
        Row("compile", "loss_gap", abs(warm["loss"] - cold["loss"]), "1"),
    ]


def _first(task: str, worlds: int, cache: Path) -> dict[str, float]:
    """Returns what `benchmarks.first` prints, in a fresh process with its own cache.

    "command" is how long the process ran, s.

    Raises:
        RuntimeError: the process failed; what it said is in the message.
        TimeoutExpired: it did not end.
    """
    env = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.first", task, str(worlds)],
        cwd=ROOT,
        env={**env, CACHE_ENV: str(cache)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    if done.returncode:
        raise RuntimeError(f"benchmarks.first {task} failed: {done.stderr[-2000:]}")
    took_s = time.perf_counter() - start
    return {**json.loads(done.stdout.splitlines()[-1]), "command": took_s}
