"""A camera calibrated from pictures of the scene in known poses: the whole way.

Geometry first (`fit`), by regions whose colours are free, then light, colours and sensor with the
geometry held (`colours`). Pictures that do not inform are refused: before the fit by
`pictures.informed_positions`, after it where the scene in these poses explains the pictures no
better than the scene in other poses, or than no scene at all.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from mjx_s2r.params import ParamSpace, unknown
from mjx_s2r.robot.camera_warp import CameraCalibration
from mjx_s2r.sim.model.fields import element_names
from mjx_s2r.sim.task import Task
from mjx_s2r.transfer.camera.colours import colour_space, fit_colours
from mjx_s2r.transfer.camera.fit import CameraFit, CameraFitConfig, find_camera, to_units, to_values
from mjx_s2r.transfer.camera.intervals import (
    RowEstimate,
    joint_posterior,
    picture_covariance,
    with_prior,
)
from mjx_s2r.transfer.camera.pictures import (
    CalibrationError,
    PosedPictures,
    informed_positions,
    spread_out,
)
from mjx_s2r.transfer.camera.regions import SHADES, PosedScene, pose_scene
from mjx_s2r.transfer.camera.rows import as_calibration, camera_space, shared_words
from mjx_s2r.transfer.posterior import Posterior

EXPLAINED = 0.5  # share of the pictures' variance that a fit must explain
OWN_POSES = 0.9  # of the cost with other poses: a fit must be below
VIVID = 0.25  # chroma of a surface whose colour tells the order of the channels
SHIFTS = 0.08  # of the height: how far pictures are shifted to measure what is left


@dataclass(frozen=True)
class CameraSettings:
    """What is fitted, and from how many pictures.

    Attributes:
        distortion: whether k1 of the lens is fitted.
        centre: whether the optical centre is fitted.
        colours: whether the table's rows of light, colours and sensor are.
        unknown: bodies whose place the recording does not tell.
        most_pictures: pictures that are used, those with poses far apart.
        samples: rays along each side of a pixel.
        fit: settings of the fit.
    """

    distortion: bool = False
    centre: bool = False
    colours: bool = True
    unknown: tuple[str, ...] = ()
    most_pictures: int = 12
    samples: int = 2
    fit: CameraFitConfig = field(default_factory=CameraFitConfig)


@dataclass(frozen=True, eq=False)
class CalibratedCamera:
    """What a calibration found.

    Attributes:
        posterior: the rows, with intervals.
        calibration: of the robot's camera, for its warp.
        pictures: that were used.
        before: (M, H, W, 3) uint8 what the model's camera as written would show, in the colours
            that were found.
        after: (M, H, W, 3) uint8 the same of the camera that was found.
        drawn: (M, H, W, 3) uint8 the renderer's own picture with all rows, or None.
        before_px: (M,) how far the pictures are off from ``before``, px.
        after_px: (M,) from ``after``.
        explained: share of the pictures' variance.
        trace: (T, 2) cameras drawn so far, and the best cost then.
        seconds: wall clock, s.
        warnings: what is doubtful, a sentence each.
    """

    posterior: Posterior
    calibration: CameraCalibration
    pictures: PosedPictures
    before: np.ndarray
    after: np.ndarray
    drawn: np.ndarray | None
    before_px: np.ndarray
    after_px: np.ndarray
    explained: float
    trace: np.ndarray
    seconds: float
    warnings: tuple[str, ...]


def calibrate_camera(
    task: Task,
    camera: str,
    pictures: PosedPictures,
    settings: CameraSettings | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> CalibratedCamera:
    """Calibrates a camera of a task from pictures in known poses.

    Args:
        task: whose scene the pictures show.
        camera: name of the camera in its model.
        pictures: the pictures and the joints' readings.
        settings: what is fitted.
        tell: called with what is being done.

    Raises:
        CalibrationError: pictures that do not inform; the message says what is missing.
        ParamError: a camera, a joint or a body that the model does not have.
        SceneError: a model that cannot be drawn.
    """
    settings, began = settings or CameraSettings(), time.monotonic()
    model = task.mj_model
    known = element_names(model, "camera")
    bodies = element_names(model, "body")
    for name in settings.unknown:
        if name not in bodies:
            raise unknown("body", name, bodies)
    others = [signal.name for signal in task.contract.cameras]
    space = camera_space(
        task.space,
        model,
        camera,
        distortion=settings.distortion,
        centre=settings.centre,
        others=others,
    )
    size = contract_size(task, camera, pictures)
    informed_positions(pictures, model, size)
    used = spread_out(pictures, settings.most_pictures)
    qpos = informed_positions(used, model, size)
    posed = pose_scene(
        model,
        camera,
        space,
        qpos,
        used.images.shape[1:3],
        samples=settings.samples,
        unknown=settings.unknown,
    )
    found = find_camera(posed, space, used.images, settings.fit, tell)
    tell("checking")
    covariance = picture_covariance(
        found.jacobian,
        found.residual,
        found.weights,
        np.asarray(found.level.pictures),
        posed.size[1],
    )
    geometry = with_prior(RowEstimate(space, found.u, covariance), task.space)
    xi = to_values(space, geometry.u)
    predicted, coefficients = found.predict(geometry.u)
    explained = _explained(used.images, predicted)
    _refuse_unexplained(found, used, explained)
    warnings = _colour_order(posed, xi, coefficients, used)
    parts, drawn = [geometry], None
    if shared := shared_words(task.space, camera, others, known):
        warnings = (*warnings, shared)
    rows = colour_space(task.space, camera, known, others) if settings.colours else ParamSpace(())
    if len(rows):
        tell("fitting light and colours")
        estimate, drawn = fit_colours(posed, space, xi, rows, used.images, model)
        parts.append(estimate)
    posterior = joint_posterior(
        tuple(parts),
        len(used) - 1,
        logs=(used.source,),
        task=task.name,
        notes=_notes(len(used), settings, bool(len(rows))),
    )
    before, _ = found.predict(to_units(space, space.nominal), coefficients)
    return CalibratedCamera(
        posterior=posterior,
        calibration=as_calibration(
            space, xi, posterior.interval[: len(space)], model, camera, posed.size[1:]
        ),
        pictures=used,
        before=before,
        after=predicted,
        drawn=drawn,
        before_px=shift_px(used.images, before),
        after_px=shift_px(used.images, predicted),
        explained=explained,
        trace=found.trace,
        seconds=time.monotonic() - began,
        warnings=warnings,
    )


def contract_size(task: Task, camera: str, pictures: PosedPictures) -> tuple[int, int]:
    """Returns height and width of the camera's pictures; those given where no contract has it."""
    for signal in task.contract.cameras:
        if signal.name == camera:
            return signal.height, signal.width
    height, width = pictures.images.shape[1:3]
    return height, width


def shift_px(measured: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Returns (M,) how far pictures lie beside what is predicted, px.

    The shift with the least mean absolute difference, whole pixels first, then the vertex of the
    parabola through its neighbours; pictures are compared where both are.

    Args:
        measured: (M, H, W, 3) uint8.
        predicted: (M, H, W, 3) uint8.
    """
    reach = max(2, round(SHIFTS * measured.shape[1]))
    out = []
    for one, other in zip(measured.astype(float), predicted.astype(float), strict=True):
        inner = one[reach:-reach, reach:-reach]
        costs = np.array(
            [
                [np.abs(inner - _moved(other, down, right, reach)).mean() for right in _span(reach)]
                for down in _span(reach)
            ]
        )
        best = np.unravel_index(int(costs.argmin()), costs.shape)
        offsets = [
            _vertex(np.take(costs, best[1 - axis], 1 - axis), int(best[axis])) for axis in (0, 1)
        ]
        out.append(float(np.hypot(*(np.array(offsets) - reach))))
    return np.array(out)


def _span(reach: int) -> range:
    """Returns the shifts from -reach to reach."""
    return range(-reach, reach + 1)


def _moved(picture: np.ndarray, down: int, right: int, reach: int) -> np.ndarray:
    """Returns the inner part of a picture that was moved down and right."""
    height, width = picture.shape[:2]
    return picture[reach - down : height - reach - down, reach - right : width - reach - right]


def _vertex(costs: np.ndarray, index: int) -> float:
    """Returns where the parabola through three neighbouring costs is least."""
    if not 0 < index < len(costs) - 1:
        return float(index)
    before, here, after = costs[index - 1 : index + 2]
    bend = before - 2 * here + after
    return float(index + (0.5 * (before - after) / bend if bend > 0 else 0.0))


def _explained(pictures: np.ndarray, predicted: np.ndarray) -> float:
    """Returns the share of the pictures' variance about their mean colours that is explained.

    The median over pixels of absolute differences would hide the robot; the mean of the differences
    counts shadows and unknown things against the fit.
    """
    flat = pictures.astype(float)
    left = np.abs(flat - predicted).mean()
    return float(1 - left / np.abs(flat - flat.mean((0, 1, 2))).mean())


def _refuse_unexplained(
    found: CameraFit,
    pictures: PosedPictures,
    explained: float,
) -> None:
    """Refuses a fit that does not explain the pictures.

    Raises:
        CalibrationError: says what may be wrong.
    """
    advice = (
        "check that the model is this scene, that the camera is the right one and near where the "
        "model has it (5 cm, 0.1 rad), that joints have the model's names, signs and zeros, and "
        "that pictures stand upright"
    )
    if explained < EXPLAINED:
        raise CalibrationError(
            f"the model explains {explained:.0%} of what the pictures of {pictures.source} show, "
            f"with the best camera that was found; {advice}"
        )
    order = np.roll(np.arange(len(pictures)), len(pictures) // 2)
    own, other = found.cost(), found.cost(order)
    if own > OWN_POSES * other:
        raise CalibrationError(
            f"the pictures of {pictures.source} fit poses of other pictures as well as their own "
            f"(cost {own:.3g} and {other:.3g}); {advice}"
        )


def _colour_order(
    posed: PosedScene, xi: np.ndarray, coefficients: np.ndarray, pictures: PosedPictures
) -> tuple[str, ...]:
    """Checks the order of the channels by surfaces whose colour the model knows.

    Raises:
        CalibrationError: red and blue are exchanged.
    """
    total = np.asarray(posed.basis(xi)).sum((0, 1, 2)).reshape(-1, SHADES)[:-1]
    area = total[:, 0]
    found = np.einsum("gk,gkc->gc", total, coefficients.reshape(-1, SHADES, 3)[:-1])
    found = found / np.maximum(area, 1e-6)[:, None]
    model = np.asarray(posed.binding.nominal["geom_rgb"], float)
    chroma = model - model.mean(1, keepdims=True)
    vivid = (np.ptp(model, axis=1) > VIVID) & (area > 4) & (posed.shown > 0)
    if not vivid.any():
        return (
            "no surface in sight has a strong colour in the model: the order of the channels "
            "could not be checked",
        )
    seen = found - found.mean(1, keepdims=True)
    weight = np.where(vivid, area, 0.0)[:, None]
    same = float((weight * chroma * seen).sum())
    swapped = float((weight * chroma * seen[:, ::-1]).sum())
    if swapped > max(2 * same, 0.0):
        names = [g.name for g, one in zip(posed.scene.geoms, vivid, strict=True) if one]
        raise CalibrationError(
            f"the pictures of {pictures.source} look like BGR: {', '.join(names[:3])} have the "
            "model's colours with red and blue exchanged; reverse the last axis, image[..., ::-1]"
        )
    return ()


def _notes(count: int, settings: CameraSettings, colours: bool) -> tuple[str, ...]:
    """Returns what a reader of the numbers must know."""
    notes = [
        f"camera calibrated from {count} pictures of the scene; joint zeros were taken as they are",
    ]
    if settings.unknown:
        notes.append(f"left out, for their place is unknown: {', '.join(settings.unknown)}")
    if colours:
        notes.append("rows of light and colours were fitted with the camera's geometry held")
    return tuple(notes)
