"""The verbs of the command line, by what one wants to do, each with lines that one can copy."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Verb:
    """A verb.

    Attributes:
        what: what it does, in one phrase.
        examples: command lines, without "python -m train" and the verb itself.
    """

    what: str
    examples: tuple[str, ...]


GROUPS: dict[str, dict[str, Verb]] = {
    "start here": {
        "demo": Verb(
            "the whole pipeline, with and without randomization, and a report",
            ("", "--budget tiny --run runs/tiny"),
        ),
        "fly": Verb(
            "fly a trained policy of the gallery on its stand-in, with a film",
            ("", "reach", "--policy runs/student/policy.onnx --episodes 6"),
        ),
        "pipeline": Verb(
            "teacher, student, export and evaluation, one after another",
            ("--task reach --run runs/reach", "--task my_arm:MyArm --run runs/arm"),
        ),
    },
    "from a robot's file to a task": {
        "inspect": Verb(
            "look at a robot's file: what is in it, and which engine simulates what",
            ("my_robot.xml", "my_robot.urdf --worlds 1024"),
        ),
        "prepare": Verb(
            "make a maker's MJCF or URDF ready for training, and report what changed",
            ("maker/robot.urdf -o my_robot",),
        ),
        "new": Verb(
            "write a task file and its test for a robot",
            ("my_arm --model my_robot/robot.xml",),
        ),
        "check": Verb(
            "compare a task with C MuJoCo before it is trained: rows, signals, rewards",
            ("--task reach", "--task my_arm:MyArm"),
        ),
        "view": Verb(
            "look at a task as the student sees it, or at a run, beside MuJoCo's picture",
            ("--task reach", "--run runs/student", "--run runs/student --browser"),
        ),
    },
    "train": {
        "teacher": Verb(
            "train a privileged teacher with PPO and a curriculum",
            (
                "--task reach --run runs/teacher",
                "--task cartpole --run runs/cartpole --ppo.actor-obs state",
                "--task reach --run runs/wide --curriculum uniform --range payload=0,0.05",
            ),
        ),
        "student": Verb(
            "distil a camera student from a teacher",
            (
                "--teacher runs/teacher --run runs/student",
                "--teacher runs/teacher --run runs/stack --cameras front:64x64@25x3",
            ),
        ),
        "seeds": Verb(
            "train one teacher from several seeds side by side, in one program",
            ("--count 4 --teacher.task cartpole",),
        ),
        "sweep": Verb(
            "run a grid of teachers on this machine or on SLURM, and show a table",
            ("--seeds 0..4 --set ppo.entropy_coef=2e-3,1e-2 --task cartpole",),
        ),
        "adapt": Verb(
            "make a student better with real pictures: demonstrations, unlabelled ones",
            ("--student runs/student --run runs/adapted --data mon/episode-1.log",),
        ),
        "weights": Verb(
            "convert a pretrained network's weights for students, running no pickle",
            ("mobilenet_v2.pth -o weights/mobilenet_v2.npz",),
        ),
    },
    "judge": {
        "judge": Verb(
            "compare the checkpoints of a run, in nominal, opened and widest worlds",
            ("--run runs/teacher",),
        ),
        "export": Verb(
            "write a student, or a teacher that reads state, as one ONNX file",
            ("--student runs/student", "--run runs/cartpole --variant float16"),
        ),
        "evaluate": Verb(
            "fly an ONNX policy on simulated robots and count",
            (
                "--policy runs/student/policy.onnx",
                "--policy runs/student/policy.onnx --reality desk.toml --count 5 --episodes 4",
            ),
        ),
        "gap": Verb(
            "measure how far simulation is from the robot, and which rows are to blame",
            (
                "runs/student/policy.onnx",
                "policy.onnx --flights mon/episode-1.log tue/episode-1.log --successes 2",
            ),
        ),
        "browse": Verb(
            "write one page over the runs of a folder: table, curves, differences, films",
            ("runs", "runs --watch"),
        ),
        "adversary": Verb(
            "search the worlds in which a teacher fails, and the rows to blame",
            ("--run runs/teacher",),
        ),
        "replay": Verb(
            "repeat the step in which a world ceased to be finite, in two engines",
            ("--run runs/teacher",),
        ),
    },
    "from the robot's logs": {
        "excite": Verb(
            "find the motion whose log tells most about the rows that are open",
            ("--task reach", '--model arm.xml --rows "armature*" delay --max-rate 3'),
        ),
        "identify": Verb(
            "fit a robot's parameters to its logs, with intervals",
            ("flights/arm/2026-03-01-1/motion-1.log --task reach",),
        ),
        "calibrate": Verb(
            "find out from pictures where a camera is and how it sees",
            ("shots --task reach --unknown cube",),
        ),
    },
    "studies": {
        "study": Verb(
            "answer a question by trainings judged on robots, with intervals, as one page",
            ("", "strength", "gap --size full --seeds 5", "curricula --tasks cartpole"),
        ),
    },
    "the shell": {
        "completion": Verb(
            "print what completes these commands in bash or zsh",
            ("bash > ~/.mjx_s2r_completion.sh", "zsh > ~/.mjx_s2r_completion.zsh"),
        ),
    },
}
VERBS: dict[str, Verb] = {name: verb for group in GROUPS.values() for name, verb in group.items()}
