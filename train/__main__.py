"""python -m train VERB [options]: trains, exports, evaluates and shows policies.

Each verb is one file with a Config dataclass and a main. This file only finds it: compiler switches
must be set before jax starts, so nothing heavy is imported until the verb is known.
"""

import importlib
import os
import sys
from collections.abc import Sequence

from mjx_s2r.params import ParamError, unknown
from mjx_s2r.runtime import devices

VERBS = {
    "inspect": "look at a robot's file: what is in it, and which engine simulates what",
    "prepare": "make a maker's MJCF or URDF ready for training, and report what changed",
    "new": "write a task file and its test for a robot",
    "check": "compare a task with C MuJoCo before it is trained: rows, signals, rewards",
    "teacher": "train a privileged teacher with PPO and a curriculum",
    "seeds": "train one teacher from several seeds side by side, in one program",
    "student": "distil a camera student from a teacher",
    "weights": "convert a pretrained network's weights for students, running no pickle",
    "adapt": "make a student better with real pictures: demonstrations, unlabelled ones",
    "export": "write a student, or a teacher that reads state, as one ONNX file",
    "evaluate": "run an ONNX policy on robots (or their stand-ins) and count",
    "gap": "measure how far simulation is from the robot, and which rows are to blame",
    "pipeline": "teacher, student, export and evaluation, one after another",
    "demo": "the whole pipeline with and without randomization, and a report",
    "study": "compare curricula on a held-out grid, same budget, several seeds",
    "payoff": "compare training from a posterior with randomization alone, on robots",
    "sweep": "run a grid of teachers on this machine or on SLURM, and show a table",
    "judge": "compare the checkpoints of a teacher, in nominal, opened and widest worlds",
    "browse": "write one page over the runs of a folder: table, curves, differences, films",
    "adversary": "search the worlds in which a teacher fails, and the rows to blame",
    "excite": "find the motion whose log tells most about the rows that are open",
    "identify": "fit a robot's parameters to its logs, with intervals",
    "calibrate": "find out from pictures where a camera is and how it sees",
    "replay": "repeat the step in which a world ceased to be finite, in two engines",
    "view": "look at a task as the student sees it, beside MuJoCo's own picture",
}

LIGHT = ("browse",)  # need no jax
RESUMED = ("teacher", "seeds", "student", "adapt")  # the others go on by themselves


def main() -> int:
    """Runs the verb named on the command line; returns the exit status."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__.split("\n")[0], "\n")
        print("\n".join(f"  {verb:<10} {what}" for verb, what in VERBS.items()))
        return 0 if len(sys.argv) > 1 else 2
    verb = sys.argv[1]
    if verb not in VERBS:
        print(unknown("verb", verb, list(VERBS)), file=sys.stderr)
        return 2
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # that a program was cached is no news
    sys.argv[0] = f"python -m train {verb}"
    try:
        if verb not in LIGHT:
            devices.configure()
            devices.import_mjx_quietly()
        module = importlib.import_module(f"train.{verb}")
        return int(module.main(sys.argv[2:]) or 0)
    except KeyboardInterrupt:
        print(f"\ninterrupted; what was saved is kept, {_remedy(sys.argv)}", file=sys.stderr)
        return 130
    except devices.JaxConfigError as error:  # before anything that would import jax's programs
        print(f"error: {error}", file=sys.stderr)
        return 2
    except _user_errors() as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _remedy(line: Sequence[str]) -> str:
    """Returns how to go on from where ``line``, the program and its options, was stopped."""
    more = " with --resume" if line[0].split()[-1] in RESUMED and "--resume" not in line else ""
    return f"run the same command{more} to go on"


def _user_errors() -> tuple[type[Exception], ...]:
    """Returns the errors that name their own remedy; anything else keeps its traceback."""
    from mjx_s2r.contract import ContractError
    from mjx_s2r.io.checkpoints import CheckpointError
    from mjx_s2r.io.config import ConfigError
    from mjx_s2r.io.run import RunError
    from mjx_s2r.learn.networks.encoders.architecture import EncoderError
    from mjx_s2r.onnx_export import ExportError
    from mjx_s2r.render.geometry.scene import SceneError
    from mjx_s2r.robot.log import LogError
    from mjx_s2r.runtime.distributed import HostError
    from mjx_s2r.runtime.sharding import MeshError
    from mjx_s2r.sim.nan_replay import NanReplayError
    from mjx_s2r.sim.physics import ModelError
    from mjx_s2r.sim.task import TaskError
    from mjx_s2r.transfer.camera.pictures import CalibrationError
    from mjx_s2r.transfer.identifiability import IdentifiabilityError
    from mjx_s2r.transfer.posterior import PosteriorError
    from mjx_s2r.transfer.recording import RecordingError

    runs = (RunError, CheckpointError, NanReplayError, HostError, MeshError)
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
