"""Compiler switches by version, merging with the user's, and placement on two devices."""

import contextlib
import json
import os
import platform
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from mjx_s2r.api.teacher import TeacherConfig, train_teacher
from mjx_s2r.runtime import devices

TINY = TeacherConfig(task="cartpole", iterations=1)
ROOT = Path(__file__).parents[2]
BOTH = (devices.EMITTERS_OFF, devices.SCHEDULER_OFF, devices.PASSES_OFF)


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs ``code`` in a fresh process whose XLA_FLAGS are only those given."""
    clean = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_PLATFORMS")}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=clean | {"JAX_PLATFORMS": "cpu"} | environment,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=True,
    )


@pytest.mark.parametrize(
    ("version", "flags"),
    [
        ("0.4.38", ()),
        ("0.6.2", ()),
        ("0.7.0", BOTH),
        ("0.9.2", BOTH),
        ("0.9.0.1", BOTH),
        ("0.10.2", (*BOTH, devices.YNN_OFF)),
        ("0.11.0", ()),
        ("0.12.0.1", ()),
        ("1.0.0", ()),
    ],
)
def test_flags_follow_the_measured_table(version: str, flags: tuple[str, ...]) -> None:
    assert devices.cpu_flags(version) == flags


def test_merge_keeps_what_the_user_named() -> None:
    mine = "--xla_cpu_use_fusion_emitters=true  --xla_dump_to=x"
    merged = devices.merge_flags(mine, BOTH)
    assert merged.split() == [*mine.split(), *BOTH[1:]]
    assert devices.merge_flags(merged, BOTH) == merged


def test_merge_leaves_a_flags_file_alone() -> None:
    assert devices.merge_flags("flags.txt", BOTH) == "flags.txt"


def test_configure_before_jax_sets_flags_cache_and_device_count(tmp_path: Path) -> None:
    code = (
        "import json, os, sys\n"
        "from mjx_s2r.runtime import devices\n"
        "assert 'jax' not in sys.modules\n"
        "devices.configure(host_devices=3)\n"
        "import jax\n"
        "print(json.dumps([os.environ['XLA_FLAGS'], jax.device_count(),"
        " jax.config.jax_compilation_cache_dir]))"
    )
    done = run_python(
        code,
        XLA_FLAGS="--xla_cpu_use_fusion_emitters=true",
        MJX_S2R_CACHE=str(tmp_path / "xla"),
    )
    flags, count, cache = json.loads(done.stdout)
    assert flags.startswith("--xla_cpu_use_fusion_emitters=true ")
    assert devices.EMITTERS_OFF not in flags
    assert count == 3
    assert cache == str(tmp_path / "xla")
    assert (tmp_path / "xla").is_dir()


@pytest.mark.parametrize(
    ("before", "after"), [("", devices.SELDOM), ("gc.set_threshold(900, 9, 9)", (900, 9, 9))]
)
def test_configure_lets_garbage_wait_unless_the_user_chose(
    before: str, after: tuple[int, int, int]
) -> None:
    code = (
        f"import gc\n{before}\nfrom mjx_s2r.runtime import devices\n"
        "devices.configure()\nprint(gc.get_threshold())"
    )
    assert run_python(code).stdout.strip() == str(after)


def test_configure_after_jax_started_warns() -> None:
    code = "import jax; jax.devices(); from mjx_s2r.runtime import devices; devices.configure()"
    assert "come too late" in run_python(code).stderr


def test_version_that_hangs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    jax.devices()  # started, so that nothing can be added
    monkeypatch.setenv("XLA_FLAGS", " ".join(BOTH))
    monkeypatch.setattr(devices.importlib.metadata, "version", lambda _: "0.10.2")
    with pytest.warns(RuntimeWarning) as caught:
        devices.configure()
    assert any("wait for ever" in str(w.message) for w in caught)
    assert any(devices.YNN_OFF in str(w.message) for w in caught)


def test_cache_folder_that_cannot_be_made_warns_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    (tmp_path / "file").write_text("")
    with pytest.warns(RuntimeWarning, match=devices.CACHE_ENV):
        devices.configure(cache_dir=tmp_path / "file" / "xla")


def test_cache_folder_that_is_an_address_warns_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv(devices.CACHE_ENV, "gs://bucket/xla")
    monkeypatch.chdir(tmp_path)
    with pytest.warns(RuntimeWarning, match="is an address; give it to jax itself"):
        devices.configure()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("jax_enable_x64", True),
        ("jax_numpy_dtype_promotion", "strict"),
        ("jax_numpy_rank_promotion", "raise"),
        ("jax_debug_key_reuse", True),
        ("jax_transfer_guard", "disallow"),
        ("jax_transfer_guard_host_to_device", "disallow_explicit"),
    ],
)
def test_settings_of_jax_that_no_training_stands_are_refused(name: str, value: object) -> None:
    before = getattr(jax.config, name)
    devices.check_jax_config()
    jax.config.update(name, value)
    try:
        for door in (devices.check_jax_config, devices.configure, lambda: train_teacher(TINY)):
            with pytest.raises(
                devices.JaxConfigError, match=rf"{name} is {value!r}.*{name.upper()}"
            ):
                door()
    finally:
        jax.config.update(name, before)


def test_settings_of_jax_that_trainings_stand_are_left_alone() -> None:
    with jax.numpy_rank_promotion("warn"), jax.debug_nans(True), jax.transfer_guard("log"):
        devices.check_jax_config()


# Of jax's key of a program only the program and the CPU are left: no flags, no options.
CACHED = """
import sys
from pathlib import Path
from mjx_s2r.runtime import devices
devices.configure(cache_dir=Path(sys.argv[1]))
import jax
from jax._src import cache_key
cache_key._hash_xla_flags = cache_key._hash_serialized_compile_options = lambda *_, **__: None
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event.split("/")[-1]))
assert jax.jit(lambda x: x @ x + 1.0)(jax.numpy.ones((3, 3))).sum() == 36.0
print(events.count("cache_hits"), events.count("cache_misses"))
"""


def run_cached(folder: Path, flags: str = "") -> tuple[int, int, str]:
    """Returns how many programs were read, how many compiled, and what else was said."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("XLA_", "JAX_", "TF_CPP_"))}
    done = subprocess.run(
        [sys.executable, "-c", CACHED, str(folder)],
        env=clean | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=True,
    )
    read, compiled = map(int, done.stdout.split())
    return read, compiled, done.stderr


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A cache folder that a first run has filled, and with how many programs."""
    folder = tmp_path_factory.mktemp("cache")
    read, compiled, said = run_cached(folder)
    assert (read, said) == (0, "")
    assert compiled > 0
    return folder, compiled


def test_second_run_reads_its_programs_and_says_nothing(filled: tuple[Path, int]) -> None:
    folder, programs = filled
    assert run_cached(folder) == (programs, 0, "")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the flag is of x86 CPUs")
@pytest.mark.skipif(
    devices._numbers(jax.lib.__version__) < devices.FALSE_ALARM[0],
    reason="this jaxlib's description of the CPU ignores the flag",
)
def test_program_of_another_cpu_is_compiled_anew(filled: tuple[Path, int]) -> None:
    folder, programs = filled
    assert run_cached(folder, "--xla_cpu_max_isa=SSE4_2") == (0, programs, "")


@pytest.mark.parametrize(
    ("named", "asked", "levels"),
    [
        ("NOTSET", "1", [3, 3, 1]),  # closed by each holder, opened by the last
        ("NOTSET", "2", [3, 3, 2]),
        ("ERROR", "0", [3, 3, 2]),
        ("NOTSET", "0", []),
        ("NOTSET", "all", []),
        ("DEBUG", "2", []),
    ],
)
def test_log_rests_for_all_holders_and_gets_its_level_back(
    named: str, asked: str, levels: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[int] = []
    monkeypatch.setattr(jax, "config", SimpleNamespace(jax_logging_level=named))
    monkeypatch.setenv(devices.LOG_ENV, asked)
    rest = devices._Rest(said.append)
    with pytest.raises(OSError), rest.hold(), rest.hold():  # a reading that fails
        raise OSError
    assert said == levels


@pytest.mark.parametrize(("lasts", "told"), [(0.3, True), (0.0, False)])
def test_what_compiles_for_long_is_told_once_and_the_log_opens_again(
    lasts: float, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(devices.LOG_ENV, "1")
    levels: list[int] = []
    lines: list[str] = []
    with devices.quiet_after(0.1, devices._Rest(levels.append), lambda: lines.append("slow")):
        time.sleep(lasts)
    assert (levels, lines) == (([3, 1], ["slow"]) if told else ([], []))


def test_every_program_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hook stands where jax compiles: a version that calls it otherwise would pass it by."""
    watched: list[float] = []

    @contextlib.contextmanager
    def watch(seconds: float, *_: object) -> Iterator[None]:
        watched.append(seconds)
        yield

    monkeypatch.setattr(devices, "quiet_after", watch)
    devices._watch_compiling()  # as `configure` has done already, or not
    unheard = random.random()  # a program that no cache holds
    jax.jit(lambda x: jnp.sin(x) * unheard).lower(1.0).compile()
    assert devices.SLOW_S in watched and devices.SLOW_S < 120


def test_describe_is_json_and_names_versions() -> None:
    about = json.loads(json.dumps(devices.describe()))
    assert about["versions"]["jax"] == jax.__version__
    assert about["devices"] == ["cpu", "cpu"]
    assert about["cores"] >= 1
