"""A policy as one ONNX file that knows its own contract.

The graph reads "obs" float32 (B, P), assembled but not normalised, and one uint8 (B, H, W, 3) per
camera under the camera's name, of a depth camera float32 metres (B, H, W, 1); it writes "action"
float32 (B, J) in physical units. The metadata hold the contract (`mjx_s2r.contract.METADATA_KEY`)
and, when exported so, golden vectors (`GOLDEN_KEY`): inputs with the actions that the trained
network gave for them. They are run at load, so a file that computes something else on this machine
is refused before a robot moves.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime

from mjx_s2r.contract import METADATA_KEY, ContractError, PolicyContract, from_json

GOLDEN_KEY = "mjx_s2r_golden"
GOLDEN_TOLERANCE = 1e-4  # largest believed difference of an action, in the action's unit
CPU = ("CPUExecutionProvider",)


class Actor(Protocol):
    """Anything that the controller can run: a contract and a function."""

    @property
    def contract(self) -> PolicyContract:
        """Contract of the policy: what it reads and writes."""
        ...

    def act(self, obs: np.ndarray, images: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the action (J,) for one observation (P,) and the images by camera name."""
        ...


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
    """Returns the golden vectors as the exporter writes them: obs (B, P), action (B, J)."""
    return json.dumps({"seed": seed, "obs": obs.tolist(), "action": action.tolist()})


@dataclass(frozen=True)
class Policy:
    """A loaded policy; implements `Actor`."""

    contract: PolicyContract
    session: onnxruntime.InferenceSession

    @classmethod
    def load(cls, path: str | Path, providers: Sequence[str] = CPU, threads: int = 1) -> "Policy":
        """Loads the file and proves that it computes what was exported.

        Args:
            path: the ONNX file.
            providers: onnxruntime execution providers, in order of preference.
            threads: threads inside one operator; one is best for small networks.

        Raises:
            ContractError: no file, or none that ONNX Runtime can read; no contract, a changed one,
                a graph that does not fit it, or golden vectors that are not reproduced.
        """
        session = _open(path, providers, threads)
        metadata = session.get_modelmeta().custom_metadata_map
        if METADATA_KEY not in metadata:
            raise ContractError(
                f"{path} has no metadata key {METADATA_KEY!r}; export it with mjx_s2r"
            )
        policy = cls(from_json(metadata[METADATA_KEY]), session)
        _check_graph(policy.contract, session, path)
        if GOLDEN_KEY in metadata:
            _check_golden(policy, metadata[GOLDEN_KEY], path)
        return policy

    def act(self, obs: np.ndarray, images: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the action (J,), physical units, for obs (P,) and one image by camera name."""
        batch = {c.name: images[c.name][None] for c in self.contract.cameras}
        return self.act_batch(obs[None], batch)[0]

    def act_batch(self, obs: np.ndarray, images: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the actions (B, J) for obs (B, P) and images (B, *shape) by camera name."""
        feed = {c.name: images[c.name] for c in self.contract.cameras}
        if self.contract.signals:
            feed["obs"] = obs
        return np.asarray(self.session.run(["action"], feed)[0])


def _open(path: str | Path, providers: Sequence[str], threads: int) -> onnxruntime.InferenceSession:
    """Returns the session of a file.

    Raises:
        ContractError: no file, or none that ONNX Runtime can read.
    """
    if not Path(path).is_file():
        what = "is a folder" if Path(path).is_dir() else "does not exist"
        raise ContractError(f"{path} {what}; name the ONNX file of a policy, or export one")
    try:
        return onnxruntime.InferenceSession(
            str(path), sess_options=_options(threads), providers=list(providers)
        )
    except Exception as error:  # its errors have no type in common
        size = Path(path).stat().st_size
        raise ContractError(
            f"{path} ({size} bytes) is no ONNX file that ONNX Runtime can read "
            f"({_first_line(error)}); copy it again, or export it anew"
        ) from error


def _first_line(error: Exception) -> str:
    """Returns what ONNX Runtime says, without the path that it repeats."""
    return (
        (str(error).strip().splitlines() or [type(error).__name__])[0]
        .rpartition("failed:")[2]
        .rstrip(".")
    )


def _options(threads: int) -> onnxruntime.SessionOptions:
    """Returns the settings for one small network at a fixed rate: few threads, none spinning."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; a warning about folding constants is no news
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def _check_graph(
    contract: PolicyContract, session: onnxruntime.InferenceSession, path: str | Path
) -> None:
    """Checks names, element types and sizes of the graph against the contract.

    Raises:
        ContractError: lists every input or output that does not fit.
    """
    given = {x.name: (x.type, tuple(x.shape)) for x in session.get_inputs()}
    given |= {x.name: (x.type, tuple(x.shape)) for x in session.get_outputs()}
    wanted: dict[str, tuple[str, tuple[int, ...]]] = {}
    if contract.signals:
        wanted["obs"] = ("tensor(float)", (contract.size,))
    kinds = {"rgb": "tensor(uint8)", "depth": "tensor(float)"}
    wanted |= {c.name: (kinds[c.kind], c.shape) for c in contract.cameras}
    wanted["action"] = ("tensor(float)", (len(contract.action.joints),))
    problems = [f"{name!r} is not in the contract" for name in given if name not in wanted]
    for name, (kind, shape) in wanted.items():
        if name not in given:
            problems.append(f"{name!r} is missing in the graph")
        elif given[name][0] != kind or not _fits(given[name][1], shape):
            problems.append(f"{name!r} is {given[name]}, the contract says {kind} (B, {shape})")
    if problems:
        raise ContractError(
            f"{path} does not fit its contract: {'; '.join(problems)}; export again"
        )


def _fits(given: tuple[int | str | None, ...], wanted: tuple[int, ...]) -> bool:
    """Returns whether a graph's shape is (anything, *wanted); symbols stand for any size."""
    pairs = zip(given[1:], wanted, strict=False)
    return len(given) == len(wanted) + 1 and all(g == w for g, w in pairs if isinstance(g, int))


def _check_golden(policy: Policy, text: str, path: str | Path) -> None:
    """Runs the golden vectors.

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
    try:
        action = policy.act_batch(obs, images)
    except Exception as error:  # of ONNX Runtime's, which have no type in common
        raise ContractError(
            f"{path}: the graph does not run here ({_first_line(error)}); export again"
        ) from error
    if action.shape != expected.shape:
        raise ContractError(
            f"{path}: golden actions have shape {expected.shape}, the graph gives {action.shape}; "
            "export again"
        )
    gap = float(np.max(np.abs(action - expected), initial=0.0))
    if not gap <= GOLDEN_TOLERANCE:
        raise ContractError(
            f"{path}: golden vectors differ by {gap:g}, more than {GOLDEN_TOLERANCE:g}; "
            "the weights or the runtime changed, export again or use another execution provider"
        )
