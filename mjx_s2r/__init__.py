"""mjx_s2r trains robot policies in simulation that work on the robot.

    import mjx_s2r as s2r

    env = s2r.make("reach")
    teacher = s2r.train(env, s2r.PPO(), curriculum=s2r.ADR(rows="~visual.*"), run="runs/teacher")
    student = s2r.distill(teacher, cameras="front:64x64@25", run="runs/student")
    student.evaluate(robots="held_out")
    student.export("policy.onnx")

Trained policies come with it: `s2r.gallery()` lists them, `s2r.fly("reach")` shows one at work.

These names are loaded when they are first used, and the compiler is configured then; importing
mjx_s2r alone loads neither jax nor mujoco, so a robot that has only the robot extra can do it. A
map of the packages:

    params      the table of parameters: what may differ in reality             [no jax]
    contract    what a policy reads and writes, in order, with units            [no jax]
    sim         table -> MJX model fields, effects, reset and step
    render      the batched camera: geometry, shading, looks, sensor
    curriculum  which part of the table is drawn: init, sample, update, report
    learn       networks, rollout, one trainer; ppo/ and distill/ are algorithms
    eval        evaluation in simulation and on robots
    export      policy -> one ONNX file with its contract inside
    robot       driver, safety, controller, flight log                          [no jax]
    transfer    logs -> parameters with intervals, the gap, the next motion
    report      charts, films and self-contained pages
    io          run folders, checkpoints, settings, trackers
    runtime     devices, processes, signals, compilation, progress
    bridge      other libraries' environments
    mjcf        models of other makers: reading, inspecting, preparing
    envs        the tasks that ship, and their registry
    api         the names above
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mjx_s2r.api.door import ADR as ADR
    from mjx_s2r.api.door import PPO as PPO
    from mjx_s2r.api.door import Distill as Distill
    from mjx_s2r.api.door import NoCurriculum as NoCurriculum
    from mjx_s2r.api.door import Student as Student
    from mjx_s2r.api.door import Teacher as Teacher
    from mjx_s2r.api.door import Uniform as Uniform
    from mjx_s2r.api.door import distill as distill
    from mjx_s2r.api.door import evaluate as evaluate
    from mjx_s2r.api.door import export as export
    from mjx_s2r.api.door import fly as fly
    from mjx_s2r.api.door import gallery as gallery
    from mjx_s2r.api.door import load as load
    from mjx_s2r.api.door import make as make
    from mjx_s2r.api.door import train as train

__version__ = "0.1.0"
__all__ = [
    "ADR",
    "PPO",
    "Distill",
    "NoCurriculum",
    "Student",
    "Teacher",
    "Uniform",
    "distill",
    "evaluate",
    "export",
    "fly",
    "gallery",
    "load",
    "make",
    "train",
]


def __getattr__(name: str) -> Any:
    """Loads a name of the door when it is first used, after the compiler has been configured."""
    if name not in __all__:
        raise AttributeError(f"module 'mjx_s2r' has no attribute {name!r}")
    devices = import_module("mjx_s2r.runtime.devices")
    devices.configure()
    devices.import_mjx_quietly()
    return getattr(import_module("mjx_s2r.api.door"), name)


def __dir__() -> list[str]:
    """Returns what there is, the names of the door among it."""
    return sorted([*globals(), *__all__])
