"""A policy -> one ONNX file: normalizer, network and action scaling in the graph, contract inside.

The graph reads what the robot has (assembled readings, uint8 images, depth in metres, its own
memory) and writes the action in physical units. Parity with JAX is measured on random inputs, over
sequences where it remembers, before the file gets its name.
"""

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from jax2onnx import to_onnx

from mjx_s2r.contract import (
    ACTION,
    MEMORY,
    MEMORY_OUT,
    METADATA_KEY,
    OBS,
    PolicyContract,
    TrainedRange,
    encode_depth,
    to_json,
)
from mjx_s2r.io.run import check_local
from mjx_s2r.onnx_rewrite import shortened
from mjx_s2r.params import ParamSpace
from mjx_s2r.robot.onnx_file import GRAPH_KEY, read_onnx
from mjx_s2r.robot.policy import (
    GOLDEN_KEY,
    VARIANT_KEY,
    Policy,
    Variant,
    golden_images,
    golden_json,
)

PARITY_LIMIT = 1e-4  # of the action's unit
_OPSETS = (17, 23)  # the oldest that serves: old robots read what ONNX Runtime 1.15 reads
GOLDEN_SEED = 0
_GOLDEN = 8


class ExportError(RuntimeError):
    """An export whose graph does not compute what JAX computes."""


@dataclass(frozen=True)
class ExportedVariant:
    """A file that computes in other numbers than float32, and how far it is from these."""

    path: Path
    variant: Variant


@dataclass(frozen=True)
class Exported:
    """Result of an export: the file, and the largest difference from JAX on how many inputs."""

    path: Path
    parity: float
    inputs: int
    variants: tuple[ExportedVariant, ...] = ()


# (obs (N, P), memory (N, H) where the contract has one, per camera (N, H, W, C) uint8, of depth
# uint16) -> squashed action (N, J) in [-1, 1], and the memory (N, H) after it where there is one
PolicyFunction = Callable[..., Any]
# (obs (N, P), memory (N, H), per camera (N, H, W, C)) -> physical action (N, J), memory (N, H)
_Step = Callable[..., tuple[jax.Array, jax.Array]]


def export_onnx(
    policy: PolicyFunction,
    contract: PolicyContract,
    path: Path,
    *,
    ranges: tuple[TrainedRange, ...] = (),
    inputs: int = 1000,
    deployed: PolicyFunction | None = None,
) -> Exported:
    """Writes the policy to ``path`` and proves it on ``inputs`` random inputs.

    Args:
        policy: called with readings, with the memory where the contract has one, and with one array
            of images per camera of the contract.
        contract: travels inside; ``ranges`` are added to it.
        path: where the file goes; written only after the proof.
        ranges: what the policy was trained on.
        inputs: how many inputs the proof uses.
        deployed: the same function in a form that makes the shorter graph; proved against
            ``policy``.

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
    compiled = jax.jit(_physical(policy, contract))
    obs, images = golden_inputs(contract)
    expected = _flown(compiled, contract, obs, images)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    model = _convert(_physical(deployed or policy, contract), contract)
    save_policy(model, contract, draft, golden_json(GOLDEN_SEED, obs, expected))
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


def _physical(policy: PolicyFunction, contract: PolicyContract) -> _Step:
    """Returns the policy from what a robot has to what it takes; its memory is (N, 0) if none."""
    scale = jnp.asarray(contract.action.scale, jnp.float32)

    def step(obs: jax.Array, memory: jax.Array, *images: jax.Array) -> tuple[jax.Array, jax.Array]:
        pairs = zip(images, contract.cameras, strict=True)
        seen = [encode_depth(jnp, c, x) if c.kind == "depth" else x for x, c in pairs]
        if not contract.memory:
            return policy(obs, *seen) * scale, memory
        squashed, memory = policy(obs, memory, *seen)
        return squashed * scale, memory

    return step


def _convert(step: _Step, contract: PolicyContract) -> onnx.ModelProto:
    """Returns the graph with a symbolic batch, inputs and outputs under the contract's names.

    Raises:
        ExportError: an operation of JAX that has no counterpart in ONNX.
    """
    # It warns of every constant without a type, which onnx.checker then finds nothing wrong with.
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)
    names, sizes = [OBS], [(contract.size, jnp.float32)]
    if contract.memory:
        names, sizes = [*names, MEMORY], [*sizes, (contract.memory, jnp.float32)]
    shapes = [jax.ShapeDtypeStruct(("B", size), kind) for size, kind in sizes]
    shapes += [jax.ShapeDtypeStruct(("B", *c.shape), c.dtype) for c in contract.cameras]

    def graph(obs: jax.Array, *given: jax.Array) -> jax.Array | tuple[jax.Array, jax.Array]:
        if contract.memory:
            return step(obs, *given)
        return step(obs, obs[:, :0], *given)[0]

    failure: Exception | None = None
    for opset in _OPSETS:
        try:
            with _jax_as_it_was(), warnings.catch_warnings():
                # It reads Python's numbers as float64; jax makes them float32 again and says so.
                warnings.filterwarnings("ignore", "Explicitly requested dtype float64", UserWarning)
                model = to_onnx(
                    graph,
                    shapes,
                    model_name=contract.task,
                    opset=opset,
                    input_names=[*names, *(c.name for c in contract.cameras)],
                    output_names=[ACTION, MEMORY_OUT] if contract.memory else [ACTION],
                )
            onnx.checker.check_model(model)
            return shortened(model)
        except Exception as error:  # each operation that does not convert has its own
            failure = error
    raise ExportError(
        f"the network of task {contract.task!r} has an operation that does not convert to ONNX "
        f"({str(failure).splitlines()[0] if str(failure) else type(failure).__name__}); write it "
        "with others"
    ) from failure


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


def save_policy(
    model: onnx.ModelProto,
    contract: PolicyContract,
    path: Path,
    golden: str,
    variant: Variant | None = None,
) -> None:
    """Writes a graph with its metadata: contract, hash, golden vectors, variant, plain keys.

    The plain keys are for tools of others that read them. Without ``golden`` there are no vectors.
    """
    del model.metadata_props[:]
    onnx.save(model, path)
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
    ours = {
        METADATA_KEY: to_json(contract),
        GRAPH_KEY: read_onnx(path).sha256,
        **({GOLDEN_KEY: golden} if golden else {}),
        VARIANT_KEY: json.dumps(asdict(variant or Variant(unit=action.unit))),
    }
    onnx.helper.set_model_props(model, ours | plain)
    onnx.save(model, path)


def _csv(values: tuple[float, ...]) -> str:
    """Returns numbers with nine significant digits: enough for a float32."""
    return ",".join(f"{v:.9g}" for v in values)


def golden_inputs(contract: PolicyContract) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns the golden vectors' inputs: readings (T, P) and images (T, H, W, C) by camera."""
    return _inputs(contract, GOLDEN_SEED)


def _inputs(contract: PolicyContract, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns eight random readings (8, P) and images by camera name."""
    rng = np.random.default_rng(seed + 1)
    obs = rng.standard_normal((_GOLDEN, contract.size)).astype(np.float32)
    return obs, golden_images(contract, seed, _GOLDEN)


def _flown(
    step: _Step, contract: PolicyContract, obs: np.ndarray, images: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Returns the actions (T, J) of an episode of obs (T, P) and images (T, H, W, C).

    Eight robots fly alike, so that one compiled program serves here and for the parity.
    """
    memory, actions = jnp.zeros((_GOLDEN, contract.memory)), []
    for t in range(len(obs)):
        alike = (np.repeat(x[t : t + 1], _GOLDEN, 0) for x in (obs, *images.values()))
        readings, *seen = alike
        action, memory = step(readings, memory, *seen)
        actions.append(np.asarray(action)[0])
    return np.stack(actions)


def parity(file: Policy, policy: PolicyFunction, inputs: int) -> float:
    """Returns the largest difference between a file and a policy, in the action's unit.

    Args:
        file: as it was loaded.
        policy: the function, as `export_onnx` takes it.
        inputs: random inputs on which both act.
    """
    return _parity(file, jax.jit(_physical(policy, file.contract)), file.contract, inputs)


def _parity(policy: Policy, compiled: _Step, contract: PolicyContract, count: int) -> float:
    """Returns the largest difference between ONNX Runtime and JAX over ``count`` inputs.

    They are steps of eight robots at a time; each side remembers by itself.
    """
    worst = 0.0
    theirs = np.zeros((_GOLDEN, contract.memory), np.float32)
    mine = jnp.asarray(theirs)
    for start in range(0, count, _GOLDEN):
        obs, images = _inputs(contract, GOLDEN_SEED + 2 + start)
        action, theirs = policy.step_batch(obs, images, theirs)
        expected, mine = compiled(obs, mine, *images.values())
        worst = max(worst, float(np.abs(action - np.asarray(expected)).max()))
    return worst
