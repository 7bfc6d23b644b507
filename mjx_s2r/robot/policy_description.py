"""A policy file for people: what it reads and writes, how it was trained, what it needs to run."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mjx_s2r.contract import CameraSignal, PolicyContract, Signal
from mjx_s2r.robot.onnx_file import GRAPH_KEY, OnnxFile, read_onnx
from mjx_s2r.robot.plain_json import plain_json
from mjx_s2r.robot.policy import GOLDEN_KEY, Variant, read_contract, read_variant
from mjx_s2r.robot.runtime import runtime_needed
from mjx_s2r.robot.table import plain_table


@dataclass(frozen=True)
class PolicyDescription:
    """What a policy file says, without running it.

    Attributes:
        file: its head.
        sha256: of the whole file.
        contract: what it reads and writes.
        variant: how it computes.
        runtime: the oldest release of ONNX Runtime known to read it; "" for none.
        proofs: what a load checks: "graph" (its hash), "golden" (its answers).
    """

    file: OnnxFile
    sha256: str
    contract: PolicyContract
    variant: Variant
    runtime: str
    proofs: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns all of it as JSON values; what is without a limit is None."""
        return {
            "path": str(self.file.path),
            "bytes": self.file.size,
            "sha256": self.sha256,
            "contract": plain_json(asdict(self.contract)),
            "variant": asdict(self.variant),
            "ir_version": self.file.ir_version,
            "opset": self.file.opset,
            "operators": self.file.nodes,
            "runtime": self.runtime,
            "proofs": list(self.proofs),
        }

    def text(self) -> str:
        """Returns it in lines for a terminal."""
        return "\n".join(_lines(self))


def describe_policy(path: str | Path) -> PolicyDescription:
    """Reads a policy file; nothing runs, so it may be one for another machine.

    Raises:
        ContractError: no file, none of ours, or one that was changed.
    """
    file = read_onnx(path)
    contract = read_contract(file)
    proofs = (("graph", GRAPH_KEY), ("golden", GOLDEN_KEY))
    return PolicyDescription(
        file=file,
        sha256=hashlib.sha256(file.path.read_bytes()).hexdigest(),
        contract=contract,
        variant=read_variant(file.metadata, path),
        runtime=runtime_needed(file.opset, file.ir_version),
        proofs=tuple(name for name, key in proofs if key in file.metadata),
    )


def _lines(found: PolicyDescription) -> Iterator[str]:
    """Yields the lines of a description."""
    contract, file = found.contract, found.file
    yield f"policy for task {contract.task!r}, {contract.control_hz:g} Hz"
    engine = f", trained in engine {contract.engine!r}" if contract.engine else ""
    yield f"  file       {file.path}, {file.size / 1e3:.0f} kB, sha256 {found.sha256[:16]}{engine}"
    yield f"  computes   {_variant(found.variant)}, {file.nodes} operators"
    needs = f"onnxruntime >= {found.runtime}" if found.runtime else "a newer onnxruntime"
    yield f"  needs      {needs} (opset {file.opset}, format {file.ir_version})"
    checked = " and ".join(found.proofs) or "nothing"
    yield f"  proved by  {checked} at each load"
    memory = f"{contract.memory} numbers, from step to step" if contract.memory else "none"
    yield f"  memory     {memory}"
    yield f"reads {contract.size} numbers"
    head = ("signal", "size", "unit", "believed", "met in training")
    yield from plain_table([head, *map(_signal, contract.signals)])
    if contract.cameras:
        yield "sees"
        head = ("camera", "picture", "rate", "kind", "lens")
        yield from plain_table([head, *map(_camera, contract.cameras)])
    action = contract.action
    yield f"writes {action.mode}, {action.unit}"
    columns = ("joint", "scale", "home", "low", "high", "max rate", "max effort")
    values = (
        *(action.scale, action.home, action.low, action.high),
        *(action.max_rate, action.max_effort),
    )
    cells = ([f"{x:.6g}" for x in one] for one in values)
    yield from plain_table([columns, *zip(action.joints, *cells, strict=True)])
    if contract.chain.points:
        yield f"watched points: {', '.join(p.name for p in contract.chain.points)}"
    if contract.ranges:
        yield "trained on"
        rows = (
            (r.name, r.unit, f"{r.nominal:.4g}", f"{r.low:.4g}", f"{r.high:.4g}")
            for r in contract.ranges
        )
        yield from plain_table([("row", "unit", "nominal", "from", "to"), *rows])


def _variant(variant: Variant) -> str:
    """Returns how a file computes, in words."""
    if not variant.inputs:
        return variant.name
    return (
        f"{variant.name}, off float32 by {variant.error_max:.2g} {variant.unit} at most and "
        f"{variant.error_p99:.2g} in 99 of 100 ({variant.inputs} inputs)"
    )


def _signal(signal: Signal) -> tuple[str, ...]:
    """Returns the cells of a signal."""
    believed = _span((signal.low,), (signal.high,))
    seen = _span(signal.seen_low, signal.seen_high)
    return signal.name, str(signal.size), signal.unit, believed, seen


def _span(low: Sequence[float], high: Sequence[float]) -> str:
    """Returns from the smallest to the largest of several ranges, in words."""
    if not low or (math.isinf(min(low)) and math.isinf(max(high))):
        return "anything" if low else "not told"
    return f"{min(low):.3g} to {max(high):.3g}"


def _camera(camera: CameraSignal) -> tuple[str, ...]:
    """Returns the cells of a camera."""
    optics, many = camera.optics, f" x{camera.frames}" if camera.frames > 1 else ""
    depth = f" {camera.near:g} to {camera.far:g} m" if camera.kind == "depth" else ""
    lens = "not told"
    if optics.fov_deg:
        span = f" ({_span(optics.fov_range[:1], optics.fov_range[1:])})" if optics.fov_range else ""
        bent = ", bent" if optics.distortion or optics.distortion_range else ""
        lens = f"{optics.fov_deg:g} deg{span}, {optics.fit}, {optics.order}{bent}"
    return (
        camera.name,
        f"{camera.height}x{camera.width}{many}",
        f"{camera.rate_hz:g} Hz",
        f"{camera.kind}{depth}",
        lens,
    )
