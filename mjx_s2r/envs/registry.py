"""Task registry: from a task's name to its class, its training recipe and its robots.

A task registers itself in its own file, in one call at the end:

    register("reach", Reach, ppo=PPOConfig(reward_scale=0.1), iterations=120)

Names are found without importing every task: the task called ``reach`` lives in
``mjx_s2r/envs/reach.py``. Beside the names in this folder a task is named by

    "module:Class"        a class, or a function, that makes it; its module may call `register`, too
    "brax:ant"            an environment of Brax
    "playground:NAME"     an environment of MuJoCo Playground

A "module:function" may also return another library's environment with rows bound to its model and
a measure of success (`mjx_s2r.bridge`), which "brax:ant" alone does not have.
"""

import importlib
import inspect
import pkgutil
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any, Protocol, TypeGuard

import mjx_s2r.envs
from mjx_s2r.bridge.registry import LIBRARIES, make_peer
from mjx_s2r.bridge.wrapper import WrappedEnv
from mjx_s2r.eval.reality import Reality
from mjx_s2r.learn.distill.config import DistillConfig
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.params import ParamError, unknown
from mjx_s2r.render.cameras import check_looks
from mjx_s2r.sim.backends.physics_config import ModelError, PhysicsConfig
from mjx_s2r.sim.env import Env, not_native_error
from mjx_s2r.sim.env import make as make_native_env
from mjx_s2r.sim.interface import Environment
from mjx_s2r.sim.task import Task, ranged
from mjx_s2r.sim.task_calls import check_members, one_line
from mjx_s2r.sim.task_defaults import TaskDefaults

# Returns a `Task` or a `WrappedEnv`; a frozen dataclass is no `Task` to a type checker, which takes
# the attributes of a protocol for settable.
TaskMaker = Callable[[], Any]

_PACKAGE = mjx_s2r.envs.__name__
_PEERS = f"{_PACKAGE}.peers"  # recipes of other libraries' environments
_NO_TASKS = ("registry", "peers")  # modules of the package that hold none; so do _* and *_robots
_ITERATIONS = 140
OBJECT = "object:"  # begins the name of a task that was handed over and that no name leads to


class RobotSuite(Protocol):
    """Robots that a task's policies are judged on; a module, or any object with these parts.

    A task without one is judged on `mjx_s2r.eval.stand_ins.default_reality`, and every task on the
    reality files that a user hands over.

    Attributes:
        GOAL: what counts as a success, a sentence.
    """

    GOAL: str

    def held_out(self, index: int) -> Reality:
        """Returns one robot for the final verdict, with numbers that training never saw."""
        ...

    def rehearsal(self, index: int) -> Reality:
        """Returns one robot for development."""
        ...


@dataclass(frozen=True)
class TaskSpec:
    """A registered task: how it is made, how it is trained, and what it is judged on.

    Attributes:
        name: name on the command line.
        make: class or function that makes the task, or another library's environment.
        ppo: settings of its teacher.
        iterations: PPO iterations of its teacher.
        distill: settings of its student.
        robots: `RobotSuite`, or the name of a module that is one; empty for the module beside that
            of ``make``, with "_robots" after its name, if there is one.
        study_iterations: PPO iterations in a comparison of curricula; 0 has no number of its own.
    """

    name: str
    make: TaskMaker
    ppo: PPOConfig = field(default_factory=PPOConfig)
    iterations: int = _ITERATIONS
    distill: DistillConfig = field(default_factory=DistillConfig)
    robots: str | RobotSuite = ""
    study_iterations: int = 0


_registered: dict[str, TaskSpec] = {}


def register(
    name: str,
    make: TaskMaker,
    *,
    ppo: PPOConfig | None = None,
    iterations: int = _ITERATIONS,
    distill: DistillConfig | None = None,
    robots: str | RobotSuite = "",
    study_iterations: int = 0,
) -> None:
    """Registers a task under a name; see `TaskSpec` for the arguments.

    A module that is loaded again (as in a notebook) replaces what it registered before.

    Raises:
        ParamError: the name belongs to another task.
    """
    owner = f"{_PACKAGE}.{name}"
    old = _registered.get(name)
    taken = name in _builtin_names() and getattr(make, "__module__", "") != owner
    if taken or (old is not None and _origin(old.make) != _origin(make)):
        other = owner if old is None else ":".join(_origin(old.make))
        raise ParamError(
            f"task {name!r} of {':'.join(_origin(make))} has the name of another one, {other}; "
            "register it under a name of its own"
        )
    _registered[name] = TaskSpec(
        name=name,
        make=make,
        ppo=ppo or PPOConfig(),
        iterations=iterations,
        distill=distill or DistillConfig(),
        robots=robots,
        study_iterations=study_iterations,
    )


def task_names() -> tuple[str, ...]:
    """Returns the names of the tasks that come with the package or have been registered, sorted."""
    return tuple(sorted({*_builtin_names(), *(name for name in _registered if ":" not in name)}))


def task_spec(name: str) -> TaskSpec:
    """Returns what is registered of a task.

    An unregistered "module:Class" and another library's environment have the general settings.

    Args:
        name: a registered name, "module:Class", "module:function", "brax:NAME", "playground:NAME".

    Raises:
        ParamError: an unknown name, module or class; lists the near ones.
    """
    if name.startswith(OBJECT):
        return TaskSpec(name, partial(_refuse_object, name))
    if name in _builtin_names() and name not in _registered:
        importlib.import_module(f"{_PACKAGE}.{name}")
    if name.partition(":")[0] in LIBRARIES:
        importlib.import_module(_PEERS)
        return _registered.get(name) or TaskSpec(name, partial(make_peer, name))
    if name in _registered:
        return _registered[name]
    if name in _builtin_names():
        raise ParamError(
            f"{_PACKAGE}.{name} registers no task called {name!r}; call register in it, or begin "
            "the name of a module that holds no task with an underscore"
        )
    if not all(name.partition(":")):
        raise ParamError(
            f"{unknown('task', name, task_names())}; a task of your own is named module:Class"
        )
    maker = _find_maker(*name.split(":", 1))
    for spec in _registered.values():
        if _origin(spec.make) == _origin(maker):
            return spec
    return TaskSpec(name, maker)


def make_task(task: str | Task, ranges: Sequence[str] = ()) -> Task:
    """Returns the task of a name; one that is a task already is returned as it is.

    Args:
        task: a name (see `task_spec`), or a task.
        ranges: ranges of its rows instead of those it is written with (`mjx_s2r.params.ranges`).

    Raises:
        ParamError: as `task_spec`; another library's environment, or no task at all; a range that
            its row cannot have.
        TaskError: a task without a part that it needs.
    """
    made = _make(task) if isinstance(task, str) else task
    if isinstance(made, WrappedEnv):
        raise not_native_error(repr(task) if isinstance(task, str) else type(task).__name__)
    if not _is_task(made):
        what = f"{task!r} makes" if isinstance(task, str) else f"{type(task).__name__} is"
        raise ParamError(f"{what} no task; write one as mjx_s2r/envs/cartpole.py does")
    return ranged(made, ranges)


def make_env(
    task: str | Task | Environment,
    physics: PhysicsConfig | None = None,
    worlds: int = 1,
    ranges: Sequence[str] = (),
) -> Environment:
    """Returns the environment of a task, or another library's.

    Args:
        task: a name (see `task_spec`), a task, or an environment.
        physics: what takes the physics steps; MJX on jax if absent. An environment of this project
            that has been made already is bound to it anew.
        worlds: how many must find room, so that too many are refused before they are compiled.
        ranges: as of `make_task`; an environment made already is bound anew with them.

    Raises:
        ParamError: as `task_spec`; neither a task nor an environment; a library that is not
            installed; a range that its row cannot have, or of another library's environment.
        TaskError: a task without a part that it needs.
        ModelError: an engine that this machine, the model or a row cannot use.
        SceneError: a geom that cannot be drawn, where rows change looks.
    """
    if isinstance(task, str) and task.partition(":")[0] in LIBRARIES:
        _refuse_physics(repr(task), physics)
    made = _make(task) if isinstance(task, str) else task
    if isinstance(made, Env):
        return _bound_anew(made, physics, worlds, ranges)
    if _is_environment(made):
        _refuse_physics(repr(task) if isinstance(task, str) else type(made).__name__, physics)
        if ranges:
            raise ParamError(
                f"ranges {list(ranges)} are of another library's environment; give its rows their "
                "limits where it is made (docs/other_environments.md)"
            )
        return made
    if not _is_task(made):
        what = f"{task!r} makes" if isinstance(task, str) else f"{type(task).__name__} is"
        raise ParamError(
            f"{what} neither a task nor an environment of this project; write a task as "
            "mjx_s2r/envs/cartpole.py does, or wrap another library's environment by "
            "mjx_s2r.bridge.wrapper.from_brax"
        )
    return _bound(ranged(made, ranges), physics, worlds)


def _bound(task: Task, physics: PhysicsConfig | None, worlds: int) -> Env:
    """Returns the environment of a task, after a look at rows that change what is drawn."""
    env = make_native_env(task, physics, worlds)
    check_looks(env.space, task.mj_model, task.contract)
    return env


def _bound_anew(env: Env, physics: PhysicsConfig | None, worlds: int, ranges: Sequence[str]) -> Env:
    """Returns an environment with another engine or other ranges, itself where neither is given.

    Raises:
        ModelError: ranges for an environment of another engine than jax, without that engine.
    """
    if physics is None and ranges and env.physics.backend != "jax":
        raise ModelError(
            f"ranges for an environment that steps in {env.physics.backend!r}: give physics=... "
            "as well, or make(task, physics=..., ranges=...) at once"
        )
    if physics is None and not ranges:
        return env
    return _bound(ranged(env.task, ranges), physics, worlds)


def name_of(env: Environment) -> str:
    """Returns the name that leads to an environment's task: what a run's settings keep.

    That is a registered name, or "module:Class" of the task's class. A task that neither leads to,
    such as one defined in a notebook, gets a name that begins with `OBJECT`; its runs can only be
    loaded with the environment.
    """
    if isinstance(env, WrappedEnv):
        return env.name if env.name.partition(":")[0] in LIBRARIES else f"{OBJECT}{env.name}"
    task = env.task if isinstance(env, Env) else env
    task = getattr(task, "unwrapped", task)
    kind, name = type(task), str(getattr(task, "name", type(task).__name__))
    if name in task_names():
        maker = task_spec(name).make
        made = maker if isinstance(maker, type) else typing.get_type_hints(maker).get("return")
        if made is kind:
            return name
    module = importlib.import_module(kind.__module__)
    reachable = getattr(module, kind.__qualname__, None) is kind
    if reachable and kind.__module__ != "__main__" and not _needs_arguments(kind):
        return f"{kind.__module__}:{kind.__qualname__}"
    return f"{OBJECT}{name}"


def robots_of(name: str) -> RobotSuite | None:
    """Returns the robots that a task's policies are judged on; None for a task without its own.

    Raises:
        ParamError: as `task_spec`; robots that are named and not there, or a part of them that is
            missing.
    """
    spec = task_spec(name)
    if name.startswith(OBJECT):
        spec.make()
    found = spec.robots
    if isinstance(found, str):
        module = found or f"{_origin(spec.make)[0]}_robots"
        try:
            found = typing.cast(RobotSuite, importlib.import_module(module))
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise
            if not spec.robots:
                return None
            raise ParamError(
                f"the robots of task {name!r} are missing: there is no module {module}; write "
                "GOAL, held_out(index) and rehearsal(index) in it, as "
                "mjx_s2r/envs/reach_robots.py does, or name none"
            ) from error
    for part in ("GOAL", "held_out", "rehearsal"):
        if not hasattr(found, part):
            raise ParamError(
                f"the robots of task {name!r} have no {part}; write it as "
                "mjx_s2r/envs/reach_robots.py does"
            )
    return found


def require_robots(name: str) -> None:
    """Checks that policies of a task can be judged on robots, before anything is trained for it.

    Raises:
        ParamError: as `robots_of`; another library's environment, which no robot flies.
    """
    if name.partition(":")[0] in LIBRARIES:
        raise not_native_error(repr(name))
    robots_of(name)


def _builtin_names() -> tuple[str, ...]:
    """Returns the names of the modules in this folder that hold a task."""
    names = (module.name for module in pkgutil.iter_modules(mjx_s2r.envs.__path__))
    return tuple(
        n for n in names if not (n in _NO_TASKS or n.startswith("_") or n.endswith("_robots"))
    )


def _origin(maker: TaskMaker) -> tuple[str, str]:
    """Returns module and name of a class or function; of two loads of a module they are equal."""
    return maker.__module__, getattr(maker, "__qualname__", repr(maker))


def _make(name: str) -> Any:
    """Returns what the class or function behind a name makes.

    Raises:
        ParamError: it raises; says what, and where.
    """
    try:
        return task_spec(name).make()
    except Exception as error:
        if type(error).__module__.startswith("mjx_s2r."):
            raise
        raise ParamError(
            f"task {name!r} cannot be made: {one_line(error)}; mend that first"
        ) from error


def _find_maker(module_name: str, attribute: str) -> TaskMaker:
    """Returns the class or function that "module:attribute" names.

    Raises:
        ParamError: no such module or attribute, or one that makes no task.
    """
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        gone = (isinstance(error, ModuleNotFoundError) and error.name) or " "
        if f"{module_name}.".startswith(f"{gone}."):
            raise ParamError(
                f"unknown task module {module_name!r}: {error}; start where it can be imported, or "
                f"name one of the tasks {', '.join(task_names())}"
            ) from error
        raise ParamError(  # the module is there, and it, or what it imports, is not sound
            f"task module {module_name!r} cannot be imported: {one_line(error)}; mend that first"
        ) from error
    found = getattr(module, attribute, None)
    if found is None:
        makers = [name for name, value in vars(module).items() if _makes_task(value, module)]
        if not makers:
            raise ParamError(
                f"{module_name} has no {attribute!r}, and no other task; write one as "
                "mjx_s2r/envs/cartpole.py does"
            )
        raise unknown(f"task in {module_name}:", attribute, makers)
    if not callable(found) or _needs_arguments(found):
        raise ParamError(
            f"{module_name}:{attribute} makes no task: it must be a class or a function that can "
            "be called without arguments and returns one"
        )
    return typing.cast(TaskMaker, found)


def _makes_task(value: Any, module: ModuleType) -> bool:
    """Returns whether ``value`` was written in ``module`` as a task's class, or returns a task."""
    if getattr(value, "__module__", None) != module.__name__:
        return False
    if inspect.isfunction(value) and not _needs_arguments(value):
        try:
            value = typing.get_type_hints(value).get("return")
        except Exception:  # an annotation that does not resolve says nothing
            return False
        if value is Task:
            return True
    return isinstance(value, type) and (issubclass(value, WrappedEnv) or _is_task_class(value))


def _needs_arguments(maker: Callable[..., Any]) -> bool:
    """Returns whether a class or function cannot be called as ``maker()``."""
    try:
        inspect.signature(maker).bind()
    except TypeError:
        return True
    except ValueError:  # a callable without a signature
        return False
    return False


def _is_task_class(value: type) -> bool:
    """Returns whether a class has the functions of a `Task`."""
    parts = ("reset", "signals", "privileged", "label", "reward")
    return all(callable(getattr(value, part, None)) for part in parts)


def _is_task(value: Any) -> TypeGuard[Task]:
    """Returns whether ``value`` has the parts of a `Task`.

    Raises:
        TaskError: it is meant to be one (`TaskDefaults`) and lacks a part; names it.
    """
    if isinstance(value, TaskDefaults):
        check_members(value)  # type: ignore[arg-type]  # that it is a task is what this tells
    parts = ("mj_model", "space", "contract", "reset", "signals", "reward")
    return not isinstance(value, type) and all(hasattr(value, part) for part in parts)


def _is_environment(value: Any) -> TypeGuard[Environment]:
    """Returns whether ``value`` has the parts of an `Environment`."""
    parts = ("action_size", "space", "episode_steps", "reset", "step")
    return not isinstance(value, type) and all(hasattr(value, part) for part in parts)


def _refuse_object(name: str) -> None:
    """Raises ParamError where the task of a name that leads to none is to be made."""
    raise ParamError(
        f"task {name!r} was an object that no name leads to; hand the environment over, e.g. "
        "load(run, env=env), or write the task as a class in a module and name it module:Class"
    )


def _refuse_physics(name: str, physics: PhysicsConfig | None) -> None:
    """Raises ModelError where another engine is wanted of an environment that steps by itself."""
    if physics is not None and physics.backend not in ("auto", "jax"):
        raise ModelError(
            f"physics.backend {physics.backend!r}: {name} is another library's environment, "
            "which steps by itself; leave physics.backend at jax"
        )
