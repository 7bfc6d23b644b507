"""What every test shares: compiler switches and caches before jax starts, and a random key."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from mjx_s2r.runtime import devices

# Most programs here run for a moment, and the compiler would take twice as long to make them fast;
# `make test-all` has it do so. The environment is for the programs that tests start.
FAST_TO_COMPILE = os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1") == "1"
jax.config.update("jax_disable_most_optimizations", FAST_TO_COMPILE)
os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault(devices.CACHE_ENV, str(Path(__file__).parents[1] / ".cache" / "xla"))
os.environ.setdefault(devices.KEEP_ENV, "0")  # thousands of small programs
jax.config.update("jax_persistent_cache_min_compile_time_secs", float(os.environ[devices.KEEP_ENV]))
devices.configure(host_devices=2)  # two, so that placement is tested everywhere

LONGEST = ("train", "learn", "envs", "sim", "eval", "transfer")  # folders with much to compile


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the folders that take long first, so that no worker begins with them at the end."""
    root = Path(__file__).parent

    def rank(item: pytest.Item) -> int:
        """Returns the place of the item's folder among the longest, or behind them."""
        folder = item.path.relative_to(root).parts[0]
        return LONGEST.index(folder) if folder in LONGEST else len(LONGEST)

    items.sort(key=rank)


@pytest.fixture
def key() -> jax.Array:
    """A random key, the same for every test."""
    return jax.random.key(0)


@pytest.fixture
def plain_signals() -> Iterator[None]:
    """Undoes what a shell or nohup may have set: that Ctrl-C or the end of a terminal is ignored.

    A process that begins with that passes it on to all that it starts.
    """
    plain = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in plain.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
