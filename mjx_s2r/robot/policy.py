"""A policy as one ONNX file that knows its own contract.

The graph reads "obs" float32 (B, P), assembled but not normalised, and one uint8 (B, H, W, 3 F) per
camera under the camera's name, of a depth camera float32 metres (B, H, W, F); it writes "action"
float32 (B, J) in physical units. A policy that remembers also reads "memory" float32 (B, H) and
writes "memory_out", which is the next step's memory. The metadata hold the contract
(`mjx_s2r.contract.METADATA_KEY`), the hash of all else (`onnx_file.GRAPH_KEY`), the variant
(`VARIANT_KEY`) and golden vectors (`GOLDEN_KEY`): inputs of consecutive steps with the actions that
the trained network gave for them. They are run at load, so a file that computes something else on
this machine is refused before a robot moves.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime

from mjx_s2r.contract import (
    ACTION,
    MEMORY,
    MEMORY_OUT,
    METADATA_KEY,
    OBS,
    ContractError,
    PolicyContract,
    from_json,
)
from mjx_s2r.robot.onnx_file import GRAPH_KEY, OnnxFile, read_onnx
from mjx_s2r.robot.runtime import first_line, open_session

GOLDEN_KEY = "mjx_s2r_golden"
VARIANT_KEY = "mjx_s2r_variant"
GOLDEN_TOLERANCE = 1e-4  # largest believed difference of an action, in the action's unit


class Actor(Protocol):
    """Anything that the controller can run: a contract and a function.

    One that remembers also has `Policy.reset`.
    """

    @property
    def contract(self) -> PolicyContract:
        """Contract of the policy: what it reads and writes."""
        ...

    def act(self, obs: np.ndarray, images: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the action (J,) for one observation (P,) and the images by camera name."""
        ...


@dataclass(frozen=True)
class Variant:
    """How a file computes, and how far that is from float32.

    Attributes:
        name: "float32", "float16" or "int8".
        error_max: largest difference of an action from the float32 file's, in the action's unit.
        error_p99: the difference that 99 % of the actions stay below.
        unit: of the action.
        inputs: on how many inputs it was measured.
        tolerance: largest believed difference from the golden vectors, in the action's unit.
    """

    name: str = "float32"
    error_max: float = 0.0
    error_p99: float = 0.0
    unit: str = ""
    inputs: int = 0
    tolerance: float = GOLDEN_TOLERANCE


def golden_images(contract: PolicyContract, seed: int, count: int) -> dict[str, np.ndarray]:
    """Returns the images of the golden vectors, (count, *shape) by camera name.

    The exporter and the robot both call this, so the file holds a seed instead of pictures. Depths
    reach a little beyond the camera's range, where there is no answer.
    """
    rng = np.random.default_rng(seed)
    images = {}
    for c in contract.cameras:
        if c.kind == "depth":
            images[c.name] = rng.uniform(0, 1.2 * c.far, (count, *c.shape)).astype(np.float32)
        else:
            images[c.name] = rng.integers(0, 256, (count, *c.shape), np.uint8)
    return images


def golden_json(seed: int, obs: np.ndarray, action: np.ndarray) -> str:
    """Returns the golden vectors as the exporter writes them: obs (T, P), action (T, J)."""
    return json.dumps({"seed": seed, "obs": obs.tolist(), "action": action.tolist()})


def read_variant(metadata: Mapping[str, str], path: str | Path) -> Variant:
    """Returns the variant that a file says it is; float32 where it says nothing.

    Raises:
        ContractError: an entry that cannot be read.
    """
    if VARIANT_KEY not in metadata:
        return Variant()
    try:
        return Variant(**json.loads(metadata[VARIANT_KEY]))
    except (ValueError, TypeError) as error:
        raise ContractError(f"{path}: its variant is unreadable ({error}); export again") from error


def read_contract(file: OnnxFile) -> PolicyContract:
    """Returns the contract in a file whose graph is as it was exported.

    Raises:
        ContractError: a file of another project, a changed contract or a changed graph.
    """
    if METADATA_KEY not in file.metadata:
        writer = f", written by {file.producer!r}," if file.producer else ""
        raise ContractError(
            f"{file.path}{writer} has no metadata key {METADATA_KEY!r}; export it with mjx_s2r"
        )
    contract = from_json(file.metadata[METADATA_KEY])
    if file.metadata.get(GRAPH_KEY, file.sha256) != file.sha256:
        raise ContractError(
            f"{file.path}: the graph was changed after export (sha256 differs); copy it again, or "
            "export it anew"
        )
    return contract


class Policy:
    """A loaded policy; implements `Actor`.

    Its buffers are reserved once, so one object serves one robot.

    Attributes:
        contract: what it reads and writes.
        variant: how it computes.
        providers: ONNX Runtime's names of what it runs on, the first one first.
    """

    def __init__(
        self, contract: PolicyContract, session: onnxruntime.InferenceSession, variant: Variant
    ) -> None:
        """Reserves the buffers; `load` is the way to get one."""
        self.contract, self.variant = contract, variant
        self.providers: tuple[str, ...] = tuple(session.get_providers())
        self._session = session
        self._inputs = _input_buffers(contract)
        self._outputs = {ACTION: np.zeros((1, len(contract.action.joints)), np.float32)}
        if contract.memory:
            self._outputs[MEMORY_OUT] = np.zeros((1, contract.memory), np.float32)
        self._binding = self._bind()

    @classmethod
    def load(
        cls, path: str | Path, providers: str | Sequence[str] = "cpu", threads: int = 1
    ) -> "Policy":
        """Loads the file and proves that it computes what was exported.

        Args:
            path: the ONNX file.
            providers: "cpu", "cuda" or "tensorrt", or names of ONNX Runtime's execution providers,
                in order of preference.
            threads: threads inside one operator; one is best for small networks.

        Raises:
            ContractError: no file, or none that this ONNX Runtime can read; no contract, a changed
                one or a changed graph, a graph that does not fit it, golden vectors that are not
                reproduced, or a provider that is not there.
        """
        file = read_onnx(path)
        contract, variant = read_contract(file), read_variant(file.metadata, path)
        session = open_session(file, providers, threads)
        _check_graph(contract, session, path)
        policy = cls(contract, session, variant)
        if GOLDEN_KEY in file.metadata:
            _check_golden(policy, file.metadata[GOLDEN_KEY], path)
        return policy

    def reset(self) -> None:
        """Forgets what was; called where an episode begins."""
        if self.contract.memory:
            self._inputs[MEMORY][:] = 0

    def act(self, obs: np.ndarray, images: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the action (J,), physical units, for obs (P,) and one image by camera name.

        A policy that remembers has then seen this step.

        Raises:
            ContractError: an observation or image of another size or type.
        """
        if self.contract.signals:
            _fill(self._inputs[OBS][0], obs, OBS, "same_kind")
        for c in self.contract.cameras:
            _fill(self._inputs[c.name][0], images[c.name], c.name, "no")
        if self._binding is None:
            values = self._session.run(list(self._outputs), self._inputs)
            for name, value in zip(self._outputs, values, strict=True):
                self._outputs[name][:] = value
        else:
            self._session.run_with_iobinding(self._binding)
        if self.contract.memory:
            self._inputs[MEMORY][:] = self._outputs[MEMORY_OUT]
        return self._outputs[ACTION][0].copy()

    def step_batch(
        self, obs: np.ndarray, images: Mapping[str, np.ndarray], memory: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns actions (B, J) and memories (B, H) of B robots; its own memory stays as it is.

        Args:
            obs: (B, P).
            images: (B, *shape) by camera name.
            memory: (B, H) before this step; H = 0 of a policy that remembers nothing.
        """
        feed = {c.name: images[c.name] for c in self.contract.cameras}
        if self.contract.signals:
            feed[OBS] = obs
        if self.contract.memory:
            feed[MEMORY] = memory
        found = self._session.run(list(self._outputs), feed)
        return np.asarray(found[0]), np.asarray(found[1]) if self.contract.memory else memory

    def _bind(self) -> Any:
        """Returns a binding of the buffers, or None where ONNX Runtime would copy them.

        Bound buffers save the making of dictionaries and arrays in each call.
        """
        if self.providers[0] != "CPUExecutionProvider":
            return None
        binding = self._session.io_binding()
        for buffers, bind in (
            (self._inputs, binding.bind_ortvalue_input),
            (self._outputs, binding.bind_ortvalue_output),
        ):
            for name, buffer in buffers.items():
                value = onnxruntime.OrtValue.ortvalue_from_numpy(buffer)
                if value.data_ptr() != buffer.ctypes.data:
                    return None
                bind(name, value)
        return binding


def _input_buffers(contract: PolicyContract) -> dict[str, np.ndarray]:
    """Returns zeros (1, ...) for every input of a policy's graph."""
    buffers = {c.name: np.zeros((1, *c.shape), c.dtype) for c in contract.cameras}
    if contract.signals:
        buffers[OBS] = np.zeros((1, contract.size), np.float32)
    if contract.memory:
        buffers[MEMORY] = np.zeros((1, contract.memory), np.float32)
    return buffers


def _fill(buffer: np.ndarray, given: np.ndarray, name: str, casting: Any) -> None:
    """Copies an input into its buffer.

    Raises:
        ContractError: another shape, or a type that would have to be converted.
    """
    fits = given.dtype == buffer.dtype or np.can_cast(given.dtype, buffer.dtype, casting)
    if given.shape != buffer.shape or not fits:
        raise ContractError(
            f"input {name!r} is {given.dtype} {given.shape}, the policy reads {buffer.dtype} "
            f"{buffer.shape}; convert it first"
        )
    np.copyto(buffer, given, casting=casting)


def _check_graph(
    contract: PolicyContract, session: onnxruntime.InferenceSession, path: str | Path
) -> None:
    """Checks names, element types and sizes of the graph against the contract.

    Raises:
        ContractError: lists every input or output that does not fit.
    """
    types = {np.dtype(np.float32): "tensor(float)", np.dtype(np.uint8): "tensor(uint8)"}
    reads = {n: (types[x.dtype], x.shape[1:]) for n, x in _input_buffers(contract).items()}
    writes = {ACTION: (types[np.dtype(np.float32)], (len(contract.action.joints),))}
    if contract.memory:
        writes[MEMORY_OUT] = (types[np.dtype(np.float32)], (contract.memory,))
    given = [
        {x.name: (x.type, tuple(x.shape)) for x in nodes}
        for nodes in (session.get_inputs(), session.get_outputs())
    ]
    problems = _mismatches("input", given[0], reads) + _mismatches("output", given[1], writes)
    if problems:
        raise ContractError(
            f"{path} does not fit its contract: {'; '.join(problems)}; export again"
        )


def _mismatches(
    what: str,
    given: Mapping[str, tuple[str, tuple[int | str | None, ...]]],
    wanted: Mapping[str, tuple[str, tuple[int, ...]]],
) -> list[str]:
    """Returns what does not fit between a graph's inputs or outputs and the contract's."""
    problems = [f"{what} {name!r} is not in the contract" for name in given if name not in wanted]
    for name, (kind, shape) in wanted.items():
        if name not in given:
            problems.append(f"{what} {name!r} is missing in the graph")
        elif given[name][0] != kind or not _fits(given[name][1], shape):
            has = f"{given[name][0]} {given[name][1]}"
            problems.append(f"{what} {name!r} is {has}, the contract says {kind} {('B', *shape)}")
    return problems


def _fits(given: tuple[int | str | None, ...], wanted: tuple[int, ...]) -> bool:
    """Returns whether a graph's shape is (B, *wanted) for any B, or for one robot."""
    if len(given) != len(wanted) + 1:
        return False
    return given[1:] == wanted and (not isinstance(given[0], int) or given[0] == 1)


def _check_golden(policy: Policy, text: str, path: str | Path) -> None:
    """Runs the golden vectors, one step after the other.

    Raises:
        ContractError: unreadable vectors, a graph that does not run, or an action that differs.
    """
    try:
        golden = json.loads(text)
        expected = np.asarray(golden["action"], np.float64)
        obs = np.asarray(golden["obs"], np.float32).reshape(len(expected), policy.contract.size)
        images = golden_images(policy.contract, int(golden["seed"]), len(expected))
    except (ValueError, KeyError, TypeError) as error:
        raise ContractError(
            f"{path}: golden vectors are unreadable ({error}); export again"
        ) from error
    policy.reset()
    try:
        action = np.array(
            [policy.act(x, {n: i[t] for n, i in images.items()}) for t, x in enumerate(obs)]
        )
    except Exception as error:  # of ONNX Runtime's, which have no type in common
        raise ContractError(
            f"{path}: the graph does not run here ({first_line(error)}); export again"
        ) from error
    policy.reset()
    if action.shape != expected.shape:
        raise ContractError(
            f"{path}: golden actions have shape {expected.shape}, the graph gives {action.shape}; "
            "export again"
        )
    gap, limit = float(np.max(np.abs(action - expected), initial=0.0)), policy.variant.tolerance
    if not gap <= limit:
        raise ContractError(
            f"{path}: golden vectors differ by {gap:g}, more than {limit:g}; "
            "the weights or the runtime changed, export again or use another execution provider"
        )
