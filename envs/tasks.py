"""Names of the tasks in this folder, and how a name or "module:Class" becomes a task."""

import importlib

from mjx_s2r.params import unknown
from mjx_s2r.sim.task import Task

TASKS = {
    "cartpole": "envs.cartpole:Cartpole",
    "reach": "envs.reach:Reach",
}


def make_task(name: str) -> Task:
    """Returns the task called ``name``, or the class that "module:Class" points to.

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
            f"class in {module_name}:", class_name, [n for n in vars(module) if n[0].isupper()]
        )
    return getattr(module, class_name)()
