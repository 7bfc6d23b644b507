"""The worlds of training as robots, so that one policy file meets both sides in the same way.

Each is the task's own model in C MuJoCo with parameters from the ranges that the policy was trained
on (its contract keeps them), seen by the training's renderer and without flaws. Controller, guard,
ONNX file and judge are those of the robots, so what differs between the two is the world alone.

What a training has and these have not: the network that bends actions (actuator.adversary), and
pictures that come late.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

import mujoco
import numpy as np

from mjx_s2r.contract import ContractError, PolicyContract
from mjx_s2r.eval.reality import Reality
from mjx_s2r.eval.reality_model import build_model
from mjx_s2r.eval.robot_episodes import JudgedRobot, LazyRobots
from mjx_s2r.eval.task_judge import TaskFunctions, TaskJudge
from mjx_s2r.params import ParamError
from mjx_s2r.render.cameras import WorldCamera
from mjx_s2r.robot.drivers.imperfections import Imperfections
from mjx_s2r.robot.drivers.mujoco_wiring import Camera
from mjx_s2r.sim.task import Task

SIMULATION, NOMINAL_WORLD = "simulation", "nominal world"
BENT = "actuator.adversary"


def trained_bounds(task: Task, contract: PolicyContract) -> np.ndarray:
    """Returns (2, D) the bounds that a policy was trained between; nominal where it does not say.

    Raises:
        ContractError: it was trained on a row that the task's table does not have.
    """
    low, high = task.space.nominal.copy(), task.space.nominal.copy()
    for row in contract.ranges:
        try:
            place = task.space.index(row.name)
        except ParamError as error:
            raise ContractError(
                f"the policy was trained on task {contract.task!r}, whose table differs from that "
                f"of {task.name!r}: {error}; name the policy's own task by --task"
            ) from error
        limits = task.space.limits[:, place]
        low[place], high[place] = np.clip((row.low, row.high), *limits)
    return np.stack((low, high))


def simulated_worlds(
    task: Task, contract: PolicyContract, seeds: Sequence[int], *, nominal: bool = False
) -> Sequence[JudgedRobot]:
    """Returns a simulated world for each seed; a robot of the same seed has the same starts.

    Args:
        task: the task.
        contract: of the policy that will play in them.
        seeds: of the robots, see `Imperfections.seed`.
        nominal: all of them are the nominal world.

    Raises:
        ContractError: a policy of another table.
        TaskError: a task that cannot be judged in C MuJoCo.
    """
    space = task.space
    low, high = trained_bounds(task, contract)
    still = np.array([row.field == BENT for row in space.rows], bool) | nominal
    low, high = (np.where(still, space.nominal, ends) for ends in (low, high))
    moved = [
        r.name for r, a, b in zip(space.rows, low, high, strict=True) if a < b or a != r.nominal
    ]
    felt = [name for name in moved if space.rows[space.index(name)].group != "visual"]
    functions = TaskFunctions(task, felt)
    camera = WorldCamera(space, task.mj_model, contract) if contract.cameras else None
    kind = NOMINAL_WORLD if nominal else SIMULATION

    def build(number: int) -> JudgedRobot:
        """Returns one of the worlds."""
        seed = seeds[number]
        unit = np.random.default_rng((seed, len(space))).random((1, len(space)))
        xi = space.snap_discrete(np, space.sample(np, unit, low, high)[0])
        rows = [space.rows[space.index(name)] for name in felt]
        values = {r.name: float(np.clip(xi[space.index(r.name)], *r.limits)) for r in rows}
        built = build_model(task, Reality(name=kind, count=1, rows=dict(values)))
        judge = TaskJudge(functions, built.model, values)
        world = JudgedRobot(
            f"{kind} {number}", built.model, built.sheet, Imperfections(seed=seed), judge
        )
        return world if camera is None else replace(world, camera=_seen(camera, xi, seed))

    return LazyRobots(build, len(seeds))


def _seen(camera: WorldCamera, xi: np.ndarray, seed: int) -> Camera:
    """Returns what takes the pictures of one world."""
    numbers = count(1000 * (seed % 1_000_000))

    def take(model: mujoco.MjModel, data: mujoco.MjData, name: str) -> np.ndarray:
        """Takes one picture."""
        return camera.picture(model, data, name, xi, next(numbers) % 2**31)

    return take
