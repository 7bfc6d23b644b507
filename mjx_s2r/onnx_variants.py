"""Variants of an exported policy in float16 and int8, each with its error against float32.

float16 keeps the inputs and outputs of the file in float32. int8 is ONNX Runtime's own static
quantization, calibrated on inputs like those met in training. Half of the inputs calibrate, the
other half measures.
"""

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16

from mjx_s2r.contract import MEMORY, OBS, PolicyContract
from mjx_s2r.onnx_export import (
    GOLDEN_SEED,
    ExportedVariant,
    ExportError,
    golden_inputs,
    save_policy,
)
from mjx_s2r.robot.policy import GOLDEN_TOLERANCE, Policy, Variant, golden_json

SAMPLES = 512  # inputs; half of them calibrate
FLOAT32 = "float32"
_PRODUCTS = ("Conv", "Gemm", "MatMul")  # what is worth computing in int8
_ROBOTS = 8  # that fly side by side
_GOLDEN_SHARE = {"float16": 2e-3, "int8": 0.02}  # of the scale: another CPU may round otherwise


@dataclass(frozen=True, eq=False)
class _Samples:
    """Inputs of B robots in the order in which they are flown.

    Attributes:
        obs: (T, B, P).
        images: (T, B, H, W, C) by camera.
    """

    obs: np.ndarray
    images: Mapping[str, np.ndarray]

    def steps(self) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Yields readings (B, P) and images (B, H, W, C) of each step."""
        for t, obs in enumerate(self.obs):
            yield obs, {name: x[t] for name, x in self.images.items()}


def check_names(variants: Sequence[str]) -> None:
    """Checks names of variants before anything is exported.

    Raises:
        ExportError: an unknown one.
    """
    known = (FLOAT32, *_MAKERS)
    for name in variants:
        if name not in known:
            raise ExportError(f"variant {name!r} must be one of {list(known)}")


def export_variants(
    path: Path,
    names: Sequence[str],
    inputs: tuple[np.ndarray, Mapping[str, np.ndarray]],
    *,
    limit: float,
) -> tuple[ExportedVariant, ...]:
    """Writes variants of an exported policy beside it, as NAME.VARIANT.onnx.

    Args:
        path: the float32 file.
        names: "float16", "int8".
        inputs: readings (N, P) and images (N, *shape) by camera, as in training.
        limit: largest believed error, as a share of the action's scale.

    Raises:
        ExportError: an unknown variant, or one that is farther from float32; it is not written.
    """
    check_names(names)
    policy = Policy.load(path)
    calibration, test = _split(inputs)
    made = []
    for name in dict.fromkeys(names):
        model = _MAKERS[name](path, policy, calibration)
        target = path.with_suffix(f".{name}.onnx")
        made.append(ExportedVariant(target, _proved(model, name, policy, test, target, limit)))
    return tuple(made)


def _proved(
    model: onnx.ModelProto, name: str, policy: Policy, test: _Samples, target: Path, limit: float
) -> Variant:
    """Writes a variant whose error, measured on ``test``, is within the limit; returns what it is.

    Raises:
        ExportError: its error is beyond the limit.
    """
    contract, scale = policy.contract, np.abs(policy.contract.action.scale)
    draft = target.with_suffix(".draft")
    try:
        save_policy(model, contract, draft, "")
        loaded = Policy.load(draft)
        gap = np.abs(_flown(loaded, test) - _flown(policy, test))
        share = float((gap / scale).max())
        if not share <= limit:
            raise ExportError(
                f"variant {name!r} differs from float32 by {100 * share:.1f} % of the action's "
                f"scale, more than {100 * limit:g} %; fly another variant, or allow it by "
                f"--variant-limit {np.ceil(100 * share) / 100:g}"
            )
        variant = Variant(
            name=name,
            error_max=float(gap.max()),
            error_p99=float(np.percentile(gap, 99)),
            unit=contract.action.unit,
            inputs=test.obs.shape[0] * test.obs.shape[1],
            tolerance=GOLDEN_TOLERANCE + _GOLDEN_SHARE[name] * float(scale.max()),
        )
        obs, images = golden_inputs(contract)
        one = _Samples(obs[:, None], {n: x[:, None] for n, x in images.items()})
        golden = golden_json(GOLDEN_SEED, obs, _flown(loaded, one)[:, 0])
        save_policy(model, contract, draft, golden, variant)
        Policy.load(draft)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return variant


def _split(inputs: tuple[np.ndarray, Mapping[str, np.ndarray]]) -> tuple[_Samples, _Samples]:
    """Returns the first and the second half of inputs (N, ...), each of B robots."""
    obs, images = inputs
    steps = len(obs) // (2 * _ROBOTS)

    def half(x: np.ndarray, which: int) -> np.ndarray:
        begin = which * steps * _ROBOTS
        part = x[begin : begin + steps * _ROBOTS]
        return part.reshape(_ROBOTS, steps, *x.shape[1:]).swapaxes(0, 1)

    first, second = (
        _Samples(half(obs, i), {name: half(x, i) for name, x in images.items()}) for i in (0, 1)
    )
    return first, second


def _flown(policy: Policy, samples: _Samples) -> np.ndarray:
    """Returns the actions (T, B, J) of robots that remember, each policy by itself."""
    memory = np.zeros((samples.obs.shape[1], policy.contract.memory), np.float32)
    actions = []
    for obs, images in samples.steps():
        action, memory = policy.step_batch(obs, images, memory)
        actions.append(action)
    return np.stack(actions)


def _float16(path: Path, policy: Policy, calibration: _Samples) -> onnx.ModelProto:
    """Returns the graph in float16 between inputs and outputs in float32."""
    del policy, calibration
    return convert_float_to_float16(onnx.load(path), keep_io_types=True)


def _int8(path: Path, policy: Policy, calibration: _Samples) -> onnx.ModelProto:
    """Returns the graph with the products of convolutions and layers in int8, but for the last.

    The last layer's output is the action itself, which 256 steps would make coarse.
    """
    layers = [n.name for n in onnx.load(path).graph.node if n.op_type in ("Gemm", "MatMul")]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        out = Path(folder) / "int8.onnx"
        quantize_static(
            path,
            out,
            _Calibration(policy, calibration),
            op_types_to_quantize=list(_PRODUCTS),
            nodes_to_exclude=layers[-1:],
            per_channel=True,
        )
        return onnx.load(out)


_MAKERS: dict[str, Callable[[Path, Policy, _Samples], onnx.ModelProto]] = {
    "float16": _float16,
    "int8": _int8,
}


class _Calibration(CalibrationDataReader):
    """Feeds the calibration with inputs, and with what the float32 policy then remembers."""

    def __init__(self, policy: Policy, samples: _Samples) -> None:
        """Takes the policy and what it is shown."""
        self._feeds = self._all(policy, samples)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Returns the next inputs by name, or None after the last ones."""
        return next(self._feeds, None)

    @staticmethod
    def _all(policy: Policy, samples: _Samples) -> Iterator[dict[str, np.ndarray]]:
        """Yields the inputs of each step."""
        contract: PolicyContract = policy.contract
        memory = np.zeros((samples.obs.shape[1], contract.memory), np.float32)
        for obs, images in samples.steps():
            feed = dict(images)
            if contract.signals:
                feed[OBS] = obs
            if contract.memory:
                feed[MEMORY] = memory
            yield feed
            memory = policy.step_batch(obs, images, memory)[1]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences the root logger, to which the quantization writes advice on each call."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)
