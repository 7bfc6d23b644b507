"""Frames of flights paired with renders of the same moment.

A robot's picture shows the scene when it was taken. The render shows the task's nominal model with
the joints where the encoders said they were then, those that an equality ties to them where it
says, and things where `Objects` says; so what differs is the looks, the mounting of the camera, and
whatever the model has wrong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from mjx_s2r.contract import CameraSignal, PolicyContract
from mjx_s2r.drives import resolve, rest_controls
from mjx_s2r.render.cameras import WorldCamera
from mjx_s2r.robot.frames import as_read, is_picture
from mjx_s2r.robot.log import Flight
from mjx_s2r.robot.policy import Policy
from mjx_s2r.sim.task import Task
from mjx_s2r.transfer.gap.objects import Objects, put_objects
from mjx_s2r.transfer.unread_joints import follow_ties


@dataclass(frozen=True, eq=False)
class PicturePairs:
    """N moments, as the robot's camera and the simulated one saw them.

    Attributes:
        camera: which camera.
        robot: (N, H, W, C) as the policy reads one picture.
        simulated: (N, H, W, C) the render of the same moment.
        observation: (N, P) what the policy read beside the picture.
        flight: (N,) which flight each is of.
    """

    camera: CameraSignal
    robot: np.ndarray
    simulated: np.ndarray
    observation: np.ndarray
    flight: np.ndarray

    def __len__(self) -> int:
        """Number of moments, N."""
        return len(self.robot)


def pair_pictures(
    task: Task,
    contract: PolicyContract,
    camera: CameraSignal,
    flights: Sequence[Flight],
    objects: Sequence[Objects],
    most: int,
) -> PicturePairs:
    """Returns at most ``most`` moments of flights that hold the camera and all joints' positions.

    Args:
        task: whose nominal model is drawn.
        contract: of the policy.
        camera: of the contract.
        flights: opened with their pictures.
        objects: where things are, flight by flight.
        most: evenly over the flights and over time.
    """
    model = task.mj_model
    draw = WorldCamera(task.space, model, contract)
    driven = resolve(model, contract.action.joints)
    each = max(1, most // max(len(flights), 1))
    robot: list[np.ndarray] = []
    simulated: list[np.ndarray] = []
    observations: list[np.ndarray] = []
    numbers: list[int] = []
    for number, (flight, things) in enumerate(zip(flights, objects, strict=True)):
        for moment in _moments(flight, camera, each):
            picture, joints, observation = moment
            data = mujoco.MjData(model)
            data.ctrl[:], data.act[:] = rest_controls(model)
            data.qpos[driven.qpos] = [joints[name] for name in driven.names]
            follow_ties(model, driven.joints.tolist(), data.qpos[None])
            put_objects(model, data, things)
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            mujoco.mj_camlight(model, data)
            image = draw.picture(model, data, camera.name, task.space.nominal, len(robot))
            robot.append(as_read(camera, picture))
            simulated.append(as_read(camera, image))
            observations.append(observation)
            numbers.append(number)
    shape = (0, camera.height, camera.width, camera.channels)
    return PicturePairs(
        camera,
        np.stack(robot) if robot else np.zeros(shape),
        np.stack(simulated) if robot else np.zeros(shape),
        np.stack(observations) if robot else np.zeros((0, contract.size)),
        np.array(numbers, int),
    )


def _moments(
    flight: Flight, camera: CameraSignal, most: int
) -> Sequence[tuple[np.ndarray, Mapping[str, float], np.ndarray]]:
    """Returns pictures, joint positions when they were taken, and observations."""
    names = flight.contract.action.joints
    found: list[tuple[float, np.ndarray, np.ndarray]] = []
    times, places = [], []
    for step in flight.steps:
        reading = step.reading
        joints = None if reading is None else reading.signals.get("joint_pos")
        if reading is None or joints is None or np.shape(joints) != (len(names),):
            continue
        times.append(reading.time_s)
        places.append(np.asarray(joints, float))
        image = reading.images.get(camera.name)
        taken_s = reading.image_time_s.get(camera.name)
        fresh = not found or (taken_s is not None and taken_s > found[-1][0])
        if image is None or taken_s is None or not fresh or not is_picture(camera, image):
            continue
        if step.observation is not None:
            found.append((taken_s, image, np.asarray(step.observation, np.float32)))
    if not found:
        return []
    kept = np.unique(np.linspace(0, len(found) - 1, min(most, len(found))).round().astype(int))
    path = np.stack(places)
    out = []
    for index in kept:
        taken_s, image, observation = found[index]
        at = [float(np.interp(taken_s, times, path[:, j])) for j in range(len(names))]
        out.append((image, dict(zip(names, at, strict=True)), observation))
    return out


def flown_pictures(camera: CameraSignal, flights: Sequence[Flight], most: int) -> np.ndarray:
    """Returns (N, H, W, C) pictures of flights, evenly over them and over time."""
    each = max(1, most // max(len(flights), 1))
    found = []
    for flight in flights:
        moments = _moments(flight, camera, each)
        found += [as_read(camera, picture) for picture, _, _ in moments]
    if not found:
        return np.zeros((0, camera.height, camera.width, camera.channels))
    return np.stack(found)


def action_difference(policy: Policy, pairs: PicturePairs) -> np.ndarray:
    """Returns (N, J) action on the robot's picture minus that on the render, in shares of scale.

    The rest of the observation is the same. A policy that sees several pictures at once is shown
    the same one as often; one with a memory begins anew.

    Raises:
        ValueError: the policy sees several cameras.
    """
    if len(policy.contract.cameras) != 1:
        names = [c.name for c in policy.contract.cameras]
        raise ValueError(f"the policy sees {names}; its action on one camera's pair is not defined")
    frames, scale = pairs.camera.frames, np.asarray(policy.contract.action.scale)
    out = []
    for index in range(len(pairs)):
        actions = []
        for picture in (pairs.robot[index], pairs.simulated[index]):
            policy.reset()
            seen = {pairs.camera.name: np.concatenate([picture] * frames, axis=-1)}
            actions.append(np.array(policy.act(pairs.observation[index], seen), float))
        out.append((actions[0] - actions[1]) / scale)
    return np.array(out).reshape(len(pairs), len(scale))
