"""Processes that train as one on this machine, and what their checkpoints hold."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp

from mjx_s2r.runtime.distributed import ADDRESS_ENV, COUNT_ENV, HEARTBEAT_ENV, INDEX_ENV

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 120


def launch(count: int, module: str, *options: str) -> list[subprocess.Popen[str]]:
    """Starts ``count`` processes of ``python -m module`` that train together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    plain = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_PLATFORMS")}
    plain |= {"JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1", HEARTBEAT_ENV: "10"}
    line = [sys.executable, "-m", module, *options]
    children = []
    for index in range(count):
        mine = {ADDRESS_ENV: f"127.0.0.1:{port}", COUNT_ENV: str(count), INDEX_ENV: str(index)}
        env = plain | (mine if count > 1 else {})
        children.append(
            subprocess.Popen(line, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)
        )
    return children


def finish(children: list[subprocess.Popen[str]], timeout_s: float = TIMEOUT_S) -> list[str]:
    """Returns the words of each; none outlives the time limit."""
    try:
        said = [child.communicate(timeout=timeout_s)[1] for child in children]
    finally:
        for child in children:
            child.kill()
    return said


def status(children: Sequence[subprocess.Popen[str]]) -> list[int]:
    """Returns the exit statuses, after all have ended."""
    return [child.wait(timeout=TIMEOUT_S) for child in children]


def arrays(run: Path, iteration: int) -> dict[str, np.ndarray]:
    """Returns the arrays of the checkpoint of an ``iteration``."""
    folder = run / "checkpoints" / str(iteration) / "arrays"
    found = ocp.Checkpointer(ocp.StandardCheckpointHandler()).restore(folder)
    return {name: np.asarray(x) for name, x in found.items()}


def same(
    mine: dict[str, np.ndarray],
    other: dict[str, np.ndarray],
    rtol: float = 1e-4,
    atol: float = 1e-5,
) -> None:
    """Compares two checkpoints: counts and keys to the bit, the rest closely."""
    assert mine.keys() == other.keys()
    for name, value in mine.items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(value, other[name], rtol=rtol, atol=atol, err_msg=name)
        else:
            np.testing.assert_array_equal(value, other[name], err_msg=name)
