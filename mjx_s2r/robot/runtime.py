"""ONNX Runtime on this machine: which files it reads, and on what it can run them.

`READS` was measured: each release was asked for a file of format and opset 99 and named its limits.
"""

import re
from collections.abc import Sequence

import onnxruntime

from mjx_s2r.contract import ContractError
from mjx_s2r.robot.onnx_file import OnnxFile

# Release of ONNX Runtime from which on files up to this opset and this format (IR version) are read
READS = (
    ("1.15", 19, 9),
    ("1.17", 20, 9),
    ("1.18", 21, 10),
    ("1.21", 22, 10),
    ("1.23", 23, 11),
    ("1.24", 25, 13),
    ("1.31", 26, 13),
)
OLDEST_OPSET = 7  # that any release reads (onnxruntime, docs/Versioning.md)
# Short name -> the providers to ask for, the wanted one first, and how to get it
PROVIDERS = {
    "cpu": (("CPUExecutionProvider",), "pip install onnxruntime"),
    "cuda": (
        ("CUDAExecutionProvider", "CPUExecutionProvider"),
        "pip install onnxruntime-gpu in the place of onnxruntime; it wants CUDA and cuDNN",
    ),
    "tensorrt": (
        ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
        "pip install onnxruntime-gpu in the place of onnxruntime; it wants CUDA and TensorRT",
    ),
}
_EXACT = {"CUDAExecutionProvider": {"use_tf32": "0"}}  # products in float32, not in 19 bits
_LIMITS = {
    "IR version": re.compile(r"max supported IR version: (\d+)"),
    "opset": re.compile(r"support for domain ai\.onnx is till opset (\d+)"),
}


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """Returns the settings for one small network at a fixed rate: few threads, none spinning."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # fatal; what fails is raised as well
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def open_session(
    file: OnnxFile, providers: str | Sequence[str], threads: int
) -> onnxruntime.InferenceSession:
    """Returns the session of a file.

    Args:
        file: what the file says of itself.
        providers: "cpu", "cuda" or "tensorrt", or names of ONNX Runtime's, in order of preference.
        threads: threads inside one operator.

    Raises:
        ContractError: weights that are not there, a provider that is not there, a file that is
            newer than this ONNX Runtime or that it cannot run.
    """
    chosen = resolve_providers(providers)
    for name in file.weights:
        if not (file.path.parent / name).is_file():
            raise ContractError(
                f"{file.path} keeps weights in {name!r}, which is not beside it; copy both, or "
                "export one file"
            )
    asked = [(name, _EXACT.get(name, {})) for name in chosen]
    try:
        session = onnxruntime.InferenceSession(
            str(file.path), sess_options=session_options(threads), providers=asked
        )
    except Exception as error:  # its errors have no type in common
        raise ContractError(_why_not(file, error)) from error
    if session.get_providers()[0] != chosen[0]:
        raise ContractError(
            f"ONNX Runtime has {chosen[0]} but could not start it, and runs on "
            f"{session.get_providers()[0]}; check the driver and the libraries it wants, or ask "
            "for 'cpu'"
        )
    return session


def resolve_providers(providers: str | Sequence[str]) -> tuple[str, ...]:
    """Returns ONNX Runtime's names of providers, and those that each falls back on, once each.

    Raises:
        ContractError: none, or one that this ONNX Runtime does not have.
    """
    names = (providers,) if isinstance(providers, str) else tuple(providers)
    there = onnxruntime.get_available_providers()
    known = {full[0]: short for short, (full, _) in PROVIDERS.items()}
    found: dict[str, None] = {}
    for name in names:
        full, remedy = PROVIDERS.get(name.lower(), ((name,), "name one of these"))
        if full[0] not in there:
            short = [known.get(x, x) for x in there]
            raise ContractError(
                f"provider {name!r} is not in this ONNX Runtime {onnxruntime.__version__}, which "
                f"has {short}; {remedy}"
            )
        found.update(dict.fromkeys(x for x in full if x in there))
    if not found:
        raise ContractError(f"no provider is named; name one of {list(PROVIDERS)}")
    return tuple(found)


def runtime_needed(opset: int, ir_version: int) -> str:
    """Returns the oldest release of ONNX Runtime known to read a file; "" where none is known."""
    for release, most_opset, most_ir in READS:
        if opset <= most_opset and ir_version <= most_ir:
            return release
    return ""


def first_line(error: Exception) -> str:
    """Returns what ONNX Runtime says, without the path that it repeats."""
    return (
        (str(error).strip().splitlines() or [type(error).__name__])[0]
        .rpartition("failed:")[2]
        .rstrip(".")
    )


def _why_not(file: OnnxFile, error: Exception) -> str:
    """Returns in one sentence why a file could not be opened, and the remedy."""
    mine = {"IR version": file.ir_version, "opset": file.opset}
    for what, pattern in _LIMITS.items():
        limit = pattern.search(str(error))
        if limit is not None:
            release = runtime_needed(file.opset, file.ir_version)
            remedy = (
                f"pip install 'onnxruntime>={release}'"
                if release
                else "install a newer onnxruntime, or export the policy again"
            )
            return (
                f"{file.path} has {what} {mine[what]}, and ONNX Runtime {onnxruntime.__version__} "
                f"reads up to {limit[1]}; {remedy}"
            )
    if file.opset < OLDEST_OPSET:
        return (
            f"{file.path} has opset {file.opset}, and ONNX Runtime reads from {OLDEST_OPSET} on; "
            "export the policy again"
        )
    return (
        f"{file.path} ({file.size} bytes) is no ONNX file that ONNX Runtime "
        f"{onnxruntime.__version__} can read ({first_line(error)}); copy it again, or export it "
        "anew"
    )
