"""Robot stand-ins of any task: a `Reality`, its models and the task that judges them."""

from collections.abc import Sequence

from mjx_s2r.eval.reality import (
    Number,
    Reality,
    Spread,
    StandInPhysics,
    check_rows,
    draw_robot,
    effects_of,
    imperfections_of,
    row_values,
)
from mjx_s2r.eval.reality_model import SEEN, build_model
from mjx_s2r.eval.robot_episodes import JudgedRobot, LazyRobots
from mjx_s2r.eval.task_judge import TaskFunctions, TaskJudge
from mjx_s2r.params import Param
from mjx_s2r.robot.drivers.imperfections import SERVO_ARM
from mjx_s2r.sim.task import Task

HALF_WAY = 0.5  # how far the default robots go from nominal to the limits of a row
OF_GEARS = ("backlash_deg", "deadband_deg")  # flaws of position servos
OF_CAMERAS = (
    *("camera_latency_frames", "dropped_frames", "shot_noise", "read_noise", "gain"),
    "exposure_drift",
)
CONVERGED = 50, 20  # iterations of the constraint solver and of its line search


def stand_ins(task: Task, realities: Sequence[Reality]) -> Sequence[JudgedRobot]:
    """Returns the robots of a task: ``count`` of every reality.

    The first one is built once, so that wrong names are told before anything runs; each is built
    when it is asked for.

    Raises:
        ParamError: a row, an effect or an element that does not exist; the message lists near ones.
        ConfigError: a value that cannot be.
        ModelError: a model that cannot be read, or that does not fit the task.
        TaskError: a task that cannot be judged in C MuJoCo.
    """
    for reality in realities:
        check_rows(reality, task.space)
    rows = sorted({name for reality in realities for name in reality.rows})
    functions = TaskFunctions(task, rows)
    robots = [(r, r.first + index) for r in realities for index in range(r.count)]
    found = LazyRobots(lambda place: _stand_in(functions, *robots[place]), len(robots))
    found[0]  # or it raises
    return found


def _stand_in(functions: TaskFunctions, reality: Reality, number: int) -> JudgedRobot:
    """Returns robot number ``number`` of a reality."""
    drawn = draw_robot(reality, number)
    built = build_model(functions.task, drawn)
    judge = TaskJudge(functions, built.model, row_values(drawn, functions.task.space))
    name, flaws = f"{reality.name} {number}", imperfections_of(drawn, number)
    return JudgedRobot(name, built.model, built.sheet, flaws, judge)


def default_reality(task: Task, count: int = 10) -> Reality:
    """Returns the reality of a task that has none: its own model, with flaws and other numbers.

    Every row of the table that a stand-in has is drawn uniformly, half-way from nominal to its
    limits; the flaws are those of `SERVO_ARM` that the robot has room for; physics runs at half the
    time step with a converged solver.
    """
    effects, contract = effects_of(SERVO_ARM), task.contract
    absent = (OF_GEARS if contract.action.mode == "effort" else ()) + (
        () if contract.cameras else OF_CAMERAS
    )
    effects = {name: value for name, value in effects.items() if name not in absent}
    rows: dict[str, Number] = {r.name: _half_way(r) for r in task.space.rows if _is_drawn(r)}
    iterations, line_search = CONVERGED
    option = task.mj_model.opt
    physics = StandInPhysics(
        timestep=float(option.timestep) / 2,
        iterations=max(iterations, option.iterations),
        ls_iterations=max(line_search, option.ls_iterations),
    )
    return Reality(name="default", count=count, rows=rows, effects=effects, physics=physics)


def plain_reality(count: int = 1) -> Reality:
    """Returns the reality without flaws: the task's own model as it is, for development."""
    return Reality(name="rehearsal", count=count)


def _is_drawn(row: Param) -> bool:
    """Returns whether a robot of the default reality draws a row."""
    if row.limits[0] == row.limits[1] or row.law == "categorical":
        return False
    seen = row.group != "visual" or row.array in SEEN
    return seen and row.field != "actuator.adversary"


def _half_way(row: Param) -> Spread:
    """Returns the spread half-way from a row's nominal value to its limits, by its law."""
    low, high = row.limits
    middle = min(max(row.nominal, low), high)
    if row.law == "log_uniform":
        return Spread(uniform=((low * middle) ** HALF_WAY, (high * middle) ** HALF_WAY))
    return Spread(uniform=(middle + HALF_WAY * (low - middle), middle + HALF_WAY * (high - middle)))
