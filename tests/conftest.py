"""What every test shares: compiler switches and caches before jax starts, and a random key."""

import os
from pathlib import Path

import jax
import pytest

from mjx_s2r import devices

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault(devices.CACHE_ENV, str(Path(__file__).parents[1] / ".cache" / "xla"))
devices.configure(host_devices=2)  # two, so that placement is tested everywhere


@pytest.fixture
def key() -> jax.Array:
    """A random key, the same for every test."""
    return jax.random.key(0)
