"""Names of the tasks in this folder, and how a name or "module:Class" becomes a task.

"module:function" may also return another library's environment, with rows bound to its model and a
measure of success (`mjx_s2r.bridge`): what "brax:ant" alone does not have.
"""

import importlib
from types import ModuleType

from mjx_s2r.bridge.registry import LIBRARIES, make_peer
from mjx_s2r.bridge.wrapper import WrappedEnv
from mjx_s2r.params import ParamError, unknown
from mjx_s2r.sim.backends.physics_config import ModelError, PhysicsConfig
from mjx_s2r.sim.env import make, not_native_error
from mjx_s2r.sim.interface import Environment
from mjx_s2r.sim.task import Task

TASKS = {
    "cartpole": "mjx_s2r.envs.cartpole:Cartpole",
    "lift": "mjx_s2r.envs.lift:Lift",
    "quadruped": "mjx_s2r.envs.quadruped:Quadruped",
    "quadruped_rough": "mjx_s2r.envs.quadruped_rough:quadruped_rough",
    "reach": "mjx_s2r.envs.reach:Reach",
    "reorient": "mjx_s2r.envs.reorient:Reorient",
}
ROBOTS = {"reach": "mjx_s2r.envs.reach_robots"}


def robots_of(name: str) -> ModuleType:
    """Returns the module with the robots that a task is judged on, and what they are judged by.

    It has GOAL, a sentence, and the functions held_out(index) and rehearsal(index). Of a task by
    the name of its class, "module:Class", it is the module called module_robot.

    Raises:
        ParamError: the task has no robots.
    """
    module = ROBOTS.get(name) or (f"{name.partition(':')[0]}_robot" if ":" in name else "")
    try:
        return importlib.import_module(module)
    except (ModuleNotFoundError, ValueError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name != module:
            raise
        raise ParamError(
            f"task {name!r} has no robots to be judged on; write held_out(index) and GOAL in "
            "a module beside it, as mjx_s2r/envs/reach_robots.py"
        ) from error


def make_task(name: str) -> Task:
    """Returns the task called ``name``, or what the class of "module:Class" makes.

    Raises:
        ParamError: an unknown name, module or class, the near ones listed; another library's
            environment.
    """
    made = named(name)
    if isinstance(made, WrappedEnv):
        raise not_native_error(repr(name))
    return made


def named(name: str) -> Task | WrappedEnv:
    """Returns the task called ``name``, or what the class or function of "module:name" makes.

    Raises:
        ParamError: an unknown name, module or class; lists the near ones.
    """
    if name not in TASKS and not all(name.partition(":")):
        raise unknown("task", name, list(TASKS))
    module_name, _, class_name = TASKS.get(name, name).partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise
        raise unknown("task module", module_name, list(TASKS)) from error
    if not hasattr(module, class_name):
        raise unknown(
            f"class in {module_name}:", class_name, [n for n in vars(module) if n[0] != "_"]
        )
    return getattr(module, class_name)()


def make_env(name: str, physics: PhysicsConfig | None = None) -> Environment:
    """Returns the environment of a task, or another library's.

    That is called "brax:ant" or "playground:NAME", or a function of "module:function" returns it.

    Args:
        name: which one.
        physics: what takes the physics steps; MJX on jax if absent.

    Raises:
        ParamError: an unknown name, or a library that is not installed.
        ModelError: an engine that this machine, the model or a row cannot use.
    """
    made = None if name.partition(":")[0] in LIBRARIES else named(name)
    if made is not None and not isinstance(made, WrappedEnv):
        return make(made, physics)
    if physics is not None and physics.backend != "jax":
        raise ModelError(
            f"physics.backend {physics.backend!r}: {name!r} is another library's environment, "
            "which steps by itself; leave physics.backend at jax"
        )
    return make_peer(name) if made is None else made
