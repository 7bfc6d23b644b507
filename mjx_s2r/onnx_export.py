"""A policy -> one ONNX file: normalizer, network and action scaling in the graph, contract inside.

The graph reads what the robot has (assembled readings, uint8 images, depth in metres) and writes
the action in physical units. Parity with JAX is measured on random inputs before the file gets its
name.
"""

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from jax2onnx import to_onnx

from mjx_s2r.contract import METADATA_KEY, PolicyContract, TrainedRange, encode_depth, to_json
from mjx_s2r.io.run import check_local
from mjx_s2r.params import ParamSpace
from mjx_s2r.robot.policy import GOLDEN_KEY, Policy, golden_images, golden_json

PARITY_LIMIT = 1e-4  # of the action's unit
_GOLDEN = 8
_SEED = 0


class ExportError(RuntimeError):
    """An export whose graph does not compute what JAX computes."""


@dataclass(frozen=True)
class Exported:
    """Result of an export: the file, and the largest difference from JAX on how many inputs."""

    path: Path
    parity: float
    inputs: int


# (obs (N, P), per camera (N, H, W, C) uint8, of depth uint16) -> squashed action (N, J) in [-1, 1]
PolicyFunction = Callable[..., jax.Array]


def export_onnx(
    policy: PolicyFunction,
    contract: PolicyContract,
    path: Path,
    *,
    ranges: tuple[TrainedRange, ...] = (),
    inputs: int = 1000,
) -> Exported:
    """Writes the policy to ``path`` and proves it on ``inputs`` random inputs.

    Args:
        policy: called with readings and one array of images per camera of the contract.
        contract: travels inside; ``ranges`` are added to it.
        path: where the file goes; written only after the proof.
        ranges: what the policy was trained on.
        inputs: how many inputs the proof uses.

    Raises:
        ExportError: JAX computes in float64, or ONNX Runtime and JAX differ by more than 1e-4.
        RunError: ``path`` is an address.
    """
    check_local(path)
    if jnp.asarray(0.0).dtype != jnp.float32:
        raise ExportError(
            "JAX_ENABLE_X64 is on, and a policy is a graph in float32: unset it, or export outside "
            "of jax.enable_x64(True)"
        )
    contract = replace(contract, ranges=ranges)
    scale = jnp.asarray(contract.action.scale, jnp.float32)

    def action(obs: jax.Array, *images: jax.Array) -> jax.Array:
        pairs = zip(images, contract.cameras, strict=True)
        seen = (encode_depth(jnp, c, x) if c.kind == "depth" else x for x, c in pairs)
        return policy(obs, *seen) * scale

    compiled = jax.jit(action)
    obs, images = _inputs(contract, _SEED, _GOLDEN)
    expected = np.asarray(compiled(obs, *images.values()))
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    model = _convert(action, contract)
    _label(model, contract, golden_json(_SEED, obs, expected))
    onnx.save(model, draft)
    try:
        parity = _parity(Policy.load(draft), compiled, contract, inputs)
        if not parity <= PARITY_LIMIT:
            raise ExportError(
                f"the ONNX graph differs from JAX by {parity:g} on {inputs} inputs, more than "
                f"{PARITY_LIMIT:g}; nothing was written to {path}"
            )
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return Exported(path, parity, inputs)


def trained_ranges(
    space: ParamSpace, low: np.ndarray, high: np.ndarray
) -> tuple[TrainedRange, ...]:
    """Returns the ranges (D,) to (D,) by row, as they travel in the file."""
    return tuple(
        TrainedRange(row.name, row.unit, row.nominal, float(a), float(b))
        for row, a, b in zip(space.rows, low, high, strict=True)
    )


def _convert(action: PolicyFunction, contract: PolicyContract) -> onnx.ModelProto:
    """Returns the graph with a symbolic batch, inputs and output under the contract's names."""
    # It warns of every constant without a type, which onnx.checker then finds nothing wrong with.
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)
    shapes = [jax.ShapeDtypeStruct(("B", contract.size), jnp.float32)]
    shapes += [jax.ShapeDtypeStruct(("B", *c.shape), c.dtype) for c in contract.cameras]
    with _jax_as_it_was(), warnings.catch_warnings():
        # It reads Python's numbers as float64; jax makes them float32 again and says so.
        warnings.filterwarnings("ignore", "Explicitly requested dtype float64", UserWarning)
        model = to_onnx(
            action,
            shapes,
            model_name=contract.task,
            input_names=["obs", *(c.name for c in contract.cameras)],
            output_names=["action"],
        )
    onnx.checker.check_model(model)
    return model


@contextmanager
def _jax_as_it_was() -> Iterator[None]:
    """Takes back what jax2onnx 0.17 leaves changed in jax.numpy.

    It replaces jnp.cumsum for good by one that refuses cumsum(x, 0): no ADR could train afterwards.
    """
    before = dict(vars(jnp))
    try:
        yield
    finally:
        for name, value in before.items():
            if getattr(jnp, name) is not value:
                setattr(jnp, name, value)


def _label(model: onnx.ModelProto, contract: PolicyContract, golden: str) -> None:
    """Writes the metadata: our contract, golden vectors, and the plain keys that others read."""
    action = contract.action
    plain = {
        "joint_names": ",".join(action.joints),
        "joint_stiffness": _csv(action.kp),
        "joint_damping": _csv(action.kd),
        "default_joint_pos": _csv(action.home),
        "action_scale": _csv(action.scale),
        "observation_names": ",".join(s.name for s in contract.signals),
        "control_hz": json.dumps(contract.control_hz),
    }
    onnx.helper.set_model_props(
        model, {METADATA_KEY: to_json(contract), GOLDEN_KEY: golden, **plain}
    )


def _csv(values: tuple[float, ...]) -> str:
    """Returns numbers with nine significant digits: enough for a float32."""
    return ",".join(f"{v:.9g}" for v in values)


def _inputs(
    contract: PolicyContract, seed: int, count: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns random readings (count, P) and images by camera name."""
    rng = np.random.default_rng(seed + 1)
    obs = rng.standard_normal((count, contract.size)).astype(np.float32)
    return obs, golden_images(contract, seed, count)


def _parity(
    policy: Policy, compiled: PolicyFunction, contract: PolicyContract, count: int
) -> float:
    """Returns the largest difference between ONNX Runtime and JAX over ``count`` inputs."""
    worst = 0.0
    for start in range(0, count, _GOLDEN):
        obs, images = _inputs(contract, _SEED + 2 + start, _GOLDEN)
        gap = policy.act_batch(obs, images) - np.asarray(compiled(obs, *images.values()))
        worst = max(worst, float(np.abs(gap).max()))
    return worst
