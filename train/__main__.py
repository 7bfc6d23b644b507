"""python -m train VERB [options]: trains, exports, evaluates and shows policies.

Each verb is one file with a Config dataclass and a main. This file only finds it: compiler switches
must be set before jax starts, so nothing heavy is imported until the verb is known.
"""

import contextlib
import errno
import importlib
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from train.verbs import VERBS

RESUMED = ("teacher", "seeds", "student", "adapt")  # the others go on by themselves
BEGUN_ANEW = (  # keep nothing half done
    *("fly", "judge", "view", "check", "inspect"),
    *("prepare", "calibrate", "excite", "gap"),
)
# A path of the user's that does not exist, may not be touched, or lies on a full disk.
OF_THE_DISK = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
LIGHT = ("browse", "fly", "completion")  # need no jax, or start it by themselves
HELP = ("-h", "--help")
NEEDED = ("numpy", "jax", "mujoco", "flax", "tyro", "rich")  # stand for the extra "train"


def main() -> int:
    """Runs the verb named on the command line; returns the exit status."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        print(f"error: {_not_installed(missing)}", file=sys.stderr)
        return 2
    from mjx_s2r.params import unknown
    from mjx_s2r.runtime import devices
    from mjx_s2r.runtime.signals import end_with_parent
    from train.help_page import show_help, verb_list

    if len(sys.argv) < 2 or sys.argv[1] in HELP:
        with contextlib.suppress(BrokenPipeError):  # `| head` has read enough
            print(verb_list(), flush=True)
        return 0 if len(sys.argv) > 1 else 2
    if sys.argv[1] == "--version":
        print(f"mjx_s2r {version('mjx_s2r')}")
        return 0
    verb, words = sys.argv[1], sys.argv[2:]
    if verb not in VERBS:
        print(f"error: {unknown('verb', verb, list(VERBS))}", file=sys.stderr)
        return 2
    end_with_parent()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # that a program was cached is no news
    sys.argv[0] = f"python -m train {verb}"
    try:
        asked = next((i for i, word in enumerate(words) if word in HELP), None)
        if asked is not None:
            if verb not in LIGHT:
                devices.import_mjx_quietly()
            print(show_help(verb, words[:asked], "".join(words[asked + 1 : asked + 2])))
            return 0
        if verb not in LIGHT:
            devices.configure()
            devices.import_mjx_quietly()
        module = importlib.import_module(f"train.{verb}")
        return int(module.main(words) or 0)
    except KeyboardInterrupt:
        print(f"\ninterrupted; {_remedy(sys.argv)}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except devices.JaxConfigError as error:  # before anything that would import jax's programs
        print(f"error: {error}", file=sys.stderr)
        return 2
    except _user_errors() as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in OF_THE_DISK:
            raise
        print(f"error: {_told(error)}", file=sys.stderr)
        return 2


def _not_installed(missing: Sequence[str]) -> str:
    """Returns that this Python lacks packages, and which one has them, or how it gets them."""
    root = Path(__file__).parents[1]
    made = root / ".venv" / "bin" / "python"
    here = "" if Path.cwd() == root else f"cd {root}; "
    remedy = (
        f"{here}source .venv/bin/activate, and run the same command"
        if made.exists()
        else f"{here}make venv, then source .venv/bin/activate, and run the same command"
    )
    return f"{sys.executable} lacks {', '.join(missing)}; {remedy}"


def _remedy(line: Sequence[str]) -> str:
    """Returns how to go on from where ``line``, the program and its options, was stopped."""
    verb = line[0].split()[-1]
    if verb in BEGUN_ANEW:
        return "the same command begins anew"
    more = " with --resume" if verb in RESUMED and "--resume" not in line else ""
    return f"what was saved is kept, run the same command{more} to go on"


def _told(error: OSError) -> str:
    """Returns what the system says of a file, and what helps where the disk is full."""
    file = f"{error.filename}: " if error.filename else ""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return f"{file}{error.strerror}" + ("; make room, then run the same command" if full else "")


def _user_errors() -> tuple[type[Exception], ...]:
    """Returns the errors that name their own remedy; anything else keeps its traceback."""
    from mjx_s2r.runtime import devices

    devices.import_mjx_quietly()
    from mjx_s2r.contract import ContractError
    from mjx_s2r.io.checkpoints import CheckpointError
    from mjx_s2r.io.config import ConfigError
    from mjx_s2r.io.run import RunError
    from mjx_s2r.learn.networks.encoders.architecture import EncoderError
    from mjx_s2r.onnx_export import ExportError
    from mjx_s2r.params import ParamError
    from mjx_s2r.render.geometry.scene import SceneError
    from mjx_s2r.robot.log import LogError
    from mjx_s2r.runtime.distributed import HostError
    from mjx_s2r.runtime.own_process import CrashError
    from mjx_s2r.runtime.sharding import MeshError
    from mjx_s2r.sim.nan_replay import NanReplayError
    from mjx_s2r.sim.physics import ModelError
    from mjx_s2r.sim.task import TaskError
    from mjx_s2r.transfer.camera.pictures import CalibrationError
    from mjx_s2r.transfer.identifiability import IdentifiabilityError
    from mjx_s2r.transfer.posterior import PosteriorError
    from mjx_s2r.transfer.recording import RecordingError

    runs = (RunError, CheckpointError, NanReplayError, HostError, MeshError, CrashError)
    return (
        ParamError,
        ConfigError,
        ContractError,
        EncoderError,
        ExportError,
        ModelError,
        SceneError,
        TaskError,
        RecordingError,
        IdentifiabilityError,
        PosteriorError,
        CalibrationError,
        LogError,
        *runs,
    )


if __name__ == "__main__":
    sys.exit(main())
