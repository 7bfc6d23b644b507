"""Compiler switches by version of JAX, the compile cache, and the accelerators that are there.

MJX on a CPU runs up to 16 times slower or faster by two compiler switches, and which switches exist
depends on the version of jaxlib; an unknown one aborts the process. They are read once, when the
first backend starts. So `configure` chooses them from the installed version and must run before any
array is made. It never touches a switch that the user's own XLA_FLAGS names.

A compiled program that is at hand still has to be traced, which makes millions of small objects
that stay; Python's search for garbage among them is a fifth of that wait, and `configure` lets it
search less often.

Every program that some versions of jaxlib take from the cache on a CPU with AVX-512 brings
kilobytes of false alarm: two preferences, prefer-no-gather and prefer-no-scatter, that the compiler
adds to the features of the CPU, and then misses in the CPU. `configure` closes the compiler's log
while such a program is read, and at no other time. A true alarm, a program from another CPU, cannot
be lost with it: what the CPU can is part of jax's key of a program, so another CPU compiles anew.

A program that compiles for two minutes sets off an alarm of the compiler's (its
slow_operation_alarm.cc), which asks to file a bug and which no switch turns off. Shortly before, a
line of ours says what goes on, and the log is closed until that program is made.

Nothing here imports jax at module level, and nothing runs at import.
"""

import contextlib
import functools
import gc
import importlib
import importlib.metadata
import io
import os
import platform
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CACHE_ENV = "MJX_S2R_CACHE"
KEEP_ENV = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"  # jax's own: the least that is kept
EMITTERS_OFF = "--xla_cpu_use_fusion_emitters=false"
SCHEDULER_OFF = "--xla_cpu_enable_concurrency_optimized_scheduler=false"
PASSES_OFF = "--xla_llvm_disable_expensive_passes=true"
YNN_OFF = "--xla_cpu_experimental_ynn_fusion_type="

# Triton matrix products, about +30 % steps/s on some GPUs, and full float32 products (TF32 and
# bfloat16 make physics unstable): advice of the MuJoCo Playground documentation.
TRITON_ON = "--xla_gpu_triton_gemm_any=True"
PRECISION = "highest"

# (first version, version after the last, switches), measured with a 6-joint arm and 512 worlds.
# jax 0.9.2: 3 k steps/s without, 61 k with. jax 0.10.2: never returns without, 42 k with.
# PASSES_OFF compiles a physics step in 6.2 s instead of 8.8 s, as fast to run (jax 0.9.2).
# jaxlib 0.12 knows no EMITTERS_OFF and aborts; versions that were not measured get nothing.
CPU_FLAGS: tuple[tuple[tuple[int, int], tuple[int, int], tuple[str, ...]], ...] = (
    ((0, 7), (0, 10), (EMITTERS_OFF, SCHEDULER_OFF, PASSES_OFF)),
    ((0, 10), (0, 11), (EMITTERS_OFF, SCHEDULER_OFF, PASSES_OFF, YNN_OFF)),
)
USUAL = (700, 10, 10)  # Python's own thresholds of its garbage collector, in new objects
SELDOM = (200_000, 50, 100)
HANGS = ((0, 10), (0, 11))  # versions that wait for ever on large batches without their switches

# (first version, version after the last) that misses the preferences it added itself. Measured
# with 4 programs of one line: 14.6 to 15.1 kB from 0.8.2 to 0.10.1, nothing with 0.8.1 and 0.10.2.
FALSE_ALARM = ((0, 8, 2), (0, 10, 2))
LOG_ENV = "TF_CPP_MIN_LOG_LEVEL"  # of the C++ log: 0 shows all, 1 warnings, 2 errors, 3 nothing
SILENT = 3
SLOW_S = 110.0  # of compiling, after which it is told; XLA's own alarm comes after 120


# Settings of jax that trainings do not stand: name, values, why. Each would end in an error of jax
# from the middle of a program.
REFUSED: tuple[tuple[str, tuple[Any, ...], str], ...] = (
    ("jax_enable_x64", (True,), "physics and networks compute in float32"),
    ("jax_numpy_dtype_promotion", ("strict",), "MJX and brax mix types"),
    ("jax_numpy_rank_promotion", ("raise",), "MJX and brax mix ranks"),
    ("jax_debug_key_reuse", (True,), "it takes a scan's constant keys for keys used twice"),
    *(
        (f"jax_transfer_guard{way}", ("disallow", "disallow_explicit"), "setting up moves arrays")
        for way in ("", "_host_to_device", "_device_to_device", "_device_to_host")
    ),
)


class JaxConfigError(ValueError):
    """A setting of jax under which trainings fail; the message names it, why and the remedy."""


def cpu_flags(version: str) -> tuple[str, ...]:
    """Returns the CPU compiler switches for a ``version`` of jaxlib, e.g. "0.9.2"."""
    release = _release(version)
    return next((flags for low, high, flags in CPU_FLAGS if low <= release < high), ())


def gradient_compiler_options() -> dict[str, bool] | None:
    """Returns the compiler options of a function without physics, for `jax.jit`.

    Gradient steps are 1.2 times as fast on a CPU with exactly what slows physics down: PPO's over
    small networks, and those of a camera student (jax 0.9.2). None where there is nothing to gain.
    A compiled function that is called within another cannot have options of its own.
    """
    import jax

    if jax.default_backend() != "cpu":
        return None
    if EMITTERS_OFF not in cpu_flags(importlib.metadata.version("jaxlib")):
        return None
    return {"xla_cpu_use_fusion_emitters": True, "xla_llvm_disable_expensive_passes": False}


def picture_compiler_options() -> dict[str, bool | int] | None:
    """Returns the compiler options of a function that draws pictures, for `jax.jit`.

    Those of gradient steps, which make the ray caster 4 times as fast (jax 0.9.2), and vectors as
    wide as the CPU has them: on one with AVX-512 that is 1.25 times as fast again. The compiler's
    own choice is half of that width.
    """
    options = gradient_compiler_options()
    return None if options is None else {**options, "xla_cpu_prefer_vector_width": 512}


def usable_cores() -> int:
    """Returns how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores_apart(processes: int) -> list[frozenset[int] | None]:
    """Returns each process's share of the processors; None for all where there are too few."""
    if not hasattr(os, "sched_getaffinity"):
        return [None] * processes
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < processes:
        return [None] * processes
    return [frozenset(cores[index::processes]) for index in range(processes)]


@contextlib.contextmanager
def kept_to(cores: frozenset[int] | None) -> Iterator[None]:
    """Keeps this thread, and the threads and processes that it starts, to some processors."""
    if cores is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def quick_compiler_options() -> dict[str, int] | None:
    """Returns the compiler options of a program that runs once, for `jax.jit`; None but on a CPU.

    Without optimizing, the physics of an arm compiles in half of the time (19 s for 34 s) and runs
    a sixth as fast (jax 0.9.2): a loss where it runs for minutes, a gain where it runs for seconds.
    """
    import jax

    return {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None


def merge_flags(existing: str, wanted: Sequence[str]) -> str:
    """Returns ``existing`` XLA_FLAGS with those of ``wanted`` added that it does not name.

    XLA also takes the name of a file in XLA_FLAGS; then nothing is added.
    """
    if existing.strip() and not existing.strip().startswith("-"):
        return existing
    named = {_flag_name(flag) for flag in existing.split()}
    added = [flag for flag in wanted if _flag_name(flag) not in named]
    return " ".join([*existing.split(), *added]) if added else existing


def accelerators() -> frozenset[str]:
    """Returns which of "cuda" and "tpu" jax will find here, without starting a backend."""
    asked = os.environ.get("JAX_PLATFORMS", "")
    found = set()
    if (_installed("jax-cuda12-plugin") or _installed("jax-cuda13-plugin")) and any(
        Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg")
    ):
        found.add("cuda")
    if _installed("libtpu"):
        found.add("tpu")
    names = {"gpu" if name == "cuda" else name for name in asked.split(",") if name}
    return frozenset(f for f in found if not names or ("gpu" if f == "cuda" else f) in names)


def check_jax_config() -> None:
    """Refuses settings of jax under which a training would end in an error of jax's own.

    Raises:
        JaxConfigError: names the setting, its environment variable, and the remedy.
    """
    import jax

    for name, values, why in REFUSED:
        value = getattr(jax.config, name, None)
        value = getattr(value, "value", value)  # some are enums, which equal their value
        if value in values:
            raise JaxConfigError(
                f"{name} is {value!r}, and {why}: take {name.upper()} out of the environment, or "
                f"undo jax.config.update({name!r}, ...)"
            )


def configure(*, host_devices: int | None = None, cache_dir: Path | None = None) -> None:
    """Sets compiler switches, matrix precision, compile cache and off-screen OpenGL. Call it first.

    Python's garbage collector runs less often from here on, unless its thresholds were changed.
    The compiler's C++ log rests while a compiled program is read, and when one has been compiling
    for long, unless TF_CPP_MIN_LOG_LEVEL is 0.

    Args:
        host_devices: how many devices the CPU shall pretend to be; None leaves it as it is.
        cache_dir: folder of compiled programs; by default $MJX_S2R_CACHE, else
            ~/.cache/mjx_s2r/xla. A JAX_COMPILATION_CACHE_DIR of the user's wins. Programs that
            compile for half a second are kept, or as long as the user's `KEEP_ENV` says.

    Raises:
        JaxConfigError: a setting of jax under which trainings fail.
    """
    check_jax_config()
    version = importlib.metadata.version("jaxlib")
    if gc.get_threshold() == USUAL:
        gc.set_threshold(*SELDOM)
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("MUJOCO_GL")):
        os.environ["MUJOCO_GL"] = "egl"  # read when mujoco is imported
    found = accelerators()
    wanted = [*cpu_flags(version)]
    if "cuda" in found:
        wanted.append(TRITON_ON)
    if host_devices is not None:
        wanted.append(f"--xla_force_host_platform_device_count={host_devices}")
    _set_flags(wanted, version)
    if found and "JAX_DEFAULT_MATMUL_PRECISION" not in os.environ:
        import jax

        jax.config.update("jax_default_matmul_precision", PRECISION)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        _set_cache(cache_dir or default_cache_dir())
    if FALSE_ALARM[0] <= _numbers(version) < FALSE_ALARM[1]:
        _hush_reading()
    _watch_compiling()


def import_mjx_quietly() -> None:
    """Imports mujoco.mjx without the lines it prints where MuJoCo Warp is missing: no news."""
    with contextlib.redirect_stdout(io.StringIO()):
        importlib.import_module("mujoco.mjx")


def default_cache_dir() -> Path:
    """Returns the folder for compiled programs: $MJX_S2R_CACHE, else ~/.cache/mjx_s2r/xla."""
    given = os.environ.get(CACHE_ENV)
    return Path(given) if given else Path.home() / ".cache" / "mjx_s2r" / "xla"


def describe() -> dict[str, Any]:
    """Returns what a result must carry to be compared: machine, devices, versions, commit."""
    import jax

    packages = ("jax", "jaxlib", "mujoco", "mujoco-mjx", "flax", "optax", "onnxruntime", "numpy")
    return {
        "machine": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "devices": [device.device_kind for device in jax.devices()],
        "python": platform.python_version(),
        "versions": {p: importlib.metadata.version(p) for p in packages if _installed(p)},
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "commit": _git("rev-parse", "HEAD") or None,
        "changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
    }


def _set_flags(wanted: Sequence[str], version: str) -> None:
    """Puts the ``wanted`` switches into XLA_FLAGS, or warns where that is too late or vetoed."""
    before = os.environ.get("XLA_FLAGS", "")
    merged = merge_flags(before, wanted)
    late = merged != before and _backend_started()
    if late:
        warnings.warn(
            f"jax has already started: the switches {' '.join(wanted)} come too late and physics "
            "may run many times slower; call devices.configure() before the first array",
            RuntimeWarning,
            stacklevel=3,
        )
    else:
        os.environ["XLA_FLAGS"] = merged
    missing = set(cpu_flags(version)) - set((before if late else merged).split())
    if missing and HANGS[0] <= _release(version) < HANGS[1]:
        warnings.warn(
            f"jaxlib {version} can wait for ever in MJX on a CPU without "
            f"{' '.join(sorted(missing))}; take these out of your XLA_FLAGS or use jaxlib 0.9.2",
            RuntimeWarning,
            stacklevel=3,
        )


def _set_cache(folder: Path) -> None:
    """Lets jax keep compiled programs in ``folder``; warns and goes on where it cannot."""
    import jax

    if re.match(r"[A-Za-z]\w+:/", str(folder)):  # as pathlib keeps gs://bucket/xla
        warnings.warn(
            f"compiled programs are not kept: {folder} is an address; give it to jax itself in "
            f"JAX_COMPILATION_CACHE_DIR, or set {CACHE_ENV} to a local folder",
            RuntimeWarning,
            stacklevel=3,
        )
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        warnings.warn(
            f"compiled programs are not kept: {folder} cannot be made ({error.strerror}); "
            f"set {CACHE_ENV} to a folder that can",
            RuntimeWarning,
            stacklevel=3,
        )
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if KEEP_ENV not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@functools.cache
def _hush_reading() -> None:
    """Lets the C++ log rest, from here on, while jax reads a compiled program of the CPU's."""
    from jax._src import compilation_cache  # the public modules have no hook around the reading

    cache: Any = compilation_cache
    read, rest = cache.get_executable_and_time, _rest()

    def read_quietly(cache_key: str, compile_options: Any, backend: Any, devices: Any) -> Any:
        with rest.hold() if backend.platform == "cpu" else contextlib.nullcontext():
            return read(cache_key, compile_options, backend, devices)

    cache.get_executable_and_time = read_quietly


@functools.cache
def _watch_compiling() -> None:
    """Lets jax tell, from here on, of a program that compiles for long, in place of XLA's alarm."""
    from jax._src import compiler  # the public modules have no hook around the compiler

    place: Any = compiler
    make = getattr(place, "backend_compile_and_load", None)
    if make is None:  # a version that calls it otherwise: the alarm stays as it is
        return

    def make_and_tell(*given: Any, **named: Any) -> Any:
        with quiet_after(SLOW_S, _rest(), _tell_slow):
            return make(*given, **named)

    place.backend_compile_and_load = make_and_tell


@contextlib.contextmanager
def quiet_after(seconds: float, rest: "_Rest", tell: Callable[[], None]) -> Iterator[None]:
    """Lets the C++ log rest, and calls ``tell``, once what is within takes so many ``seconds``."""
    held = contextlib.ExitStack()

    def late() -> None:
        held.enter_context(rest.hold())
        tell()

    timer = threading.Timer(seconds, late)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        held.close()


def _tell_slow() -> None:
    """Says that a program compiles for long."""
    from mjx_s2r.runtime.progress import print_line  # which needs jax

    print_line(
        f"a program has been compiling for {SLOW_S:.0f} s; large models can take ten minutes, and "
        "what is made is kept for the next run"
    )


@functools.cache
def _rest() -> "_Rest":
    """Returns the rests of the C++ log: one for all, so that none ends another's."""
    from jaxlib import utils

    return _Rest(utils.absl_set_min_log_level)


@dataclass
class _Rest:
    """A rest of the C++ log; it ends with the last of the threads that hold it."""

    set_level: Callable[[int], None]
    holders: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Keeps the log closed; a user's log that shows all stays open."""
        level = _log_level()
        if level <= 0:
            yield
            return
        with self.lock:
            self.holders += 1
            self.set_level(SILENT)
        try:
            yield
        finally:
            with self.lock:
                self.holders -= 1
                if not self.holders:
                    self.set_level(level)


def _log_level() -> int:
    """Returns the level of the C++ log by jax_logging_level, else by TF_CPP_MIN_LOG_LEVEL."""
    import jax

    named = {"DEBUG": 0, "INFO": 0, "WARNING": 1, "ERROR": 2, "CRITICAL": SILENT}
    config: Any = jax.config  # its type knows no names
    if config.jax_logging_level in named:
        return named[config.jax_logging_level]
    asked = os.environ.get(LOG_ENV, "0")
    return int(asked) if asked.isdecimal() else 0


def _backend_started() -> bool:
    """Returns whether jax has read its switches already."""
    if "jax" not in sys.modules:
        return False
    from jax._src import xla_bridge  # the public modules have no such question

    return xla_bridge.backends_are_initialized()


def _release(version: str) -> tuple[int, int]:
    """Returns major and minor of a version."""
    major, minor, *_ = _numbers(version)
    return major, minor


def _numbers(version: str) -> tuple[int, ...]:
    """Returns the numbers of a version, from major to the last."""
    return tuple(int(number) for number in re.findall(r"\d+", version))


def _flag_name(flag: str) -> str:
    """Returns the name of "--name=value"."""
    return flag.split("=", 1)[0].lstrip("-")


def _installed(package: str) -> bool:
    """Returns whether a distribution is installed."""
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


@functools.cache
def _cpu_model() -> str:
    """Returns the name of the processor."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    match = re.search(r"model name\s*:\s*(.+)", text)
    return match.group(1).strip() if match else platform.processor() or "unknown"


def _git(*arguments: str) -> str:
    """Returns what git says in this checkout; empty where there is no git or no checkout."""
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
