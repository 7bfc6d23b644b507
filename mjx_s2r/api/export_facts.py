"""What only training knows and the robot asks for: readings met, lenses, inputs to measure with."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import jax
import mujoco
import numpy as np

from mjx_s2r.contract import CameraSignal, Optics, PolicyContract, Signal, TrainedRange
from mjx_s2r.learn.normalizer import CLIP, Normalizer
from mjx_s2r.learn.normalizer import std as normalizer_std
from mjx_s2r.learn.rollout import reset_envs
from mjx_s2r.params import ParamSpace
from mjx_s2r.params.camera_rows import rows_of_camera
from mjx_s2r.render.cameras import as_delivered
from mjx_s2r.robot.drivers.mujoco_wiring import picture_optics
from mjx_s2r.sim.model.fields import element_names

if TYPE_CHECKING:
    from mjx_s2r.api.policy import TrainedPolicy

PICTURES = 64  # different pictures among the inputs that a variant is measured with


def seen_signals(signals: Sequence[Signal], moments: Normalizer) -> tuple[Signal, ...]:
    """Returns the signals with the readings met in training, from the normalizer's moments.

    These are mean +- `normalizer.CLIP` of its standard deviations, in the signal's unit, and within
    what the signal believes. Beyond them the normalizer clips a reading, so that the network cannot
    tell it from another. Moments are kept and not extremes, since one world that burst would make
    these meaningless for ever. A normalizer that has seen nothing claims nothing.

    Args:
        signals: in the order of the observation vector.
        moments: over the observation vector (P,).
    """
    if not float(moments.count) > 0:
        return tuple(signals)
    mean, std = np.asarray(moments.mean, float), np.asarray(normalizer_std(moments), float)
    if not (np.isfinite(mean).all() and np.isfinite(std).all()):
        return tuple(signals)
    done, at = [], 0
    for s in signals:
        part = slice(at, at + s.size)
        at += s.size
        centre = mean[part] / s.scale + np.broadcast_to(s.offset, s.size)
        reach = CLIP * std[part] / abs(s.scale)
        low, high = (np.clip(centre + sign * reach, s.low, s.high) for sign in (-1, 1))
        done.append(replace(s, seen_low=tuple(low.tolist()), seen_high=tuple(high.tolist())))
    return tuple(done)


def trained_optics(
    mj_model: mujoco.MjModel,
    space: ParamSpace,
    camera: CameraSignal,
    ranges: Sequence[TrainedRange],
) -> Optics:
    """Returns the lens that a policy was trained with: the model's, and how far the table moved it.

    Args:
        mj_model: the task's model.
        space: the table.
        camera: of the contract.
        ranges: of each row of the table, in its order.
    """
    optics = picture_optics(mj_model, camera.name)
    chosen = rows_of_camera(space, camera.name, element_names(mj_model, "camera")).chosen
    fov = (optics.fov_deg, optics.fov_deg)
    bend = [(0.0, 0.0), (0.0, 0.0)]
    for index in chosen:
        row, reached = space.rows[index], (ranges[index].low, ranges[index].high)
        if row.array == "camera_fovy":
            fov = _moved(fov, row.mode, reached)
        elif row.array == "camera_distortion":
            for k in (0, 1) if row.column is None else (row.column,):
                bend[k] = _moved(bend[k], row.mode, reached)
    moves = optics.fov_deg > 0 and fov[1] > fov[0]
    return replace(
        optics,
        fov_range=fov if moves else (),
        distortion_range=tuple(bend) if any(low < high for low, high in bend) else (),
    )


def _moved(
    pair: tuple[float, float], mode: str, reached: tuple[float, float]
) -> tuple[float, float]:
    """Returns the smallest and largest value after a row of the table has moved it."""
    if mode == "set":
        return reached
    values = [x + y if mode == "add" else x * y for x in pair for y in reached]
    return min(values), max(values)


def training_inputs(
    policy: "TrainedPolicy", contract: PolicyContract, count: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns readings (N, P) and images (N, *shape) by camera like those met in training.

    Readings are drawn from the normalizer's moments, pictures are taken of `PICTURES` fresh worlds.
    """
    rng = np.random.default_rng(0)
    learner = policy.state.learner
    moments = getattr(learner, "obs_norm", getattr(learner, "actor_norm", None))
    obs = rng.standard_normal((count, contract.size))
    if moments is not None and float(moments.count) > 0:
        obs = np.asarray(moments.mean) + obs * np.asarray(normalizer_std(moments))
    cameras = policy.trainer.cameras
    images: dict[str, np.ndarray] = {}
    if cameras is not None:
        keys = jax.random.split(jax.random.key(0), 3)
        trainer = policy.trainer
        params = trainer.curriculum.sample(policy.state.curriculum, PICTURES, keys[0])
        worlds = reset_envs(trainer.env, params, key=keys[1])
        which = np.arange(count) * PICTURES // count  # neighbours see alike
        for c, taken in zip(
            contract.cameras, cameras.pictures(worlds, params.xi, keys[2]), strict=True
        ):
            images[c.name] = np.tile(as_delivered(c, np.asarray(taken)), (1, 1, 1, c.frames))[which]
    return obs.astype(np.float32), images
