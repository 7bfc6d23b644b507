"""Settings of the physics engine, and the error for a model that it cannot take."""

from dataclasses import dataclass
from typing import Literal

import jax
import mujoco

Leaves = dict[str, jax.Array]  # mjx.Model field (dotted path) -> value of one world


# Measured: cartpole (2) steps 0.6 times as fast in C as in MJX, arms of 3 to 8 joints 2 to 5 times.
LEAST_DOF = 3


ONE_DEVICE = ("warp", "c")  # engines that step all worlds in one call


class ModelError(ValueError):
    """A MuJoCo model that cannot be simulated faithfully; names the element and the remedy."""


@dataclass(frozen=True)
class PhysicsConfig:
    """Settings of the physics."""

    backend: Literal["auto", "jax", "warp", "c"] = "jax"
    """Engine of the physics steps: jax runs everywhere, warp on NVIDIA GPUs (extra 'warp'), c is
    C MuJoCo, on a CPU faster than jax but for the smallest models. auto takes c on a CPU where it
    is faster and can, else jax; a run keeps what it took."""
    contacts: int = 0
    """With warp: contacts kept for each world, shared by all worlds; 0 takes what fits the model.
    Pairs of geoms that come near one another take a place, too."""
    rows: int = 0
    """With warp: rows of constraints that one world can have; 0 takes what fits the model."""
    cpu: bool = False
    """Let warp run without an NVIDIA GPU. For checks: it is slow there."""


def one_device(config: PhysicsConfig, devices: int) -> None:
    """Checks that a run is on one device where its engine steps all worlds in one call.

    Raises:
        ModelError: several; the compiler cannot split such a call over them.
    """
    if config.backend in ONE_DEVICE and devices > 1:
        raise ModelError(
            f"physics.backend {config.backend!r} steps all worlds on one device, and the run is on "
            f"{devices}; set --devices 1, or use physics.backend jax"
        )


def faster_in_c(mj_model: mujoco.MjModel) -> bool:
    """Returns whether C MuJoCo steps a model faster than MJX here: on a CPU, all but the smallest.

    Not the models with ground of their own (height fields), which it is handed anew at every call.
    """
    on_cpu = jax.default_backend() == "cpu"
    return on_cpu and mj_model.nv >= LEAST_DOF and mj_model.nhfield == 0
