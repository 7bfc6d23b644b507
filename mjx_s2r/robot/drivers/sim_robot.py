"""A robot made of C MuJoCo and MuJoCo's OpenGL camera, behind the same interface as a real one.

It stands in for the robot when a policy is judged: another physics engine build, another renderer,
a model with other parameters and, on top, effects that the training simulator has not
(`mjx_s2r.robot.drivers.imperfections`). Physics is lazy: it catches up with the controller's clock
at every `read` and `write`, so the same code runs in virtual time and in real time.

The quality of the picture is the model's own (``<visual><quality .../>``); nothing is changed here.
"""

import math
import os
import sys
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import mujoco
import numpy as np
from mujoco.rendering.classic import gl_context

from mjx_s2r.contract import CameraSignal
from mjx_s2r.drives import rest_controls
from mjx_s2r.robot.clock import Clock
from mjx_s2r.robot.driver import DriverInfo, Reading
from mjx_s2r.robot.drivers import imperfections
from mjx_s2r.robot.drivers.imperfections import Bus, Encoder, Imperfections
from mjx_s2r.robot.drivers.mujoco_wiring import Pose, Rig, describe, place_body, weaken, wire
from mjx_s2r.robot.frames import is_picture

PERFECT = Imperfections()


class NoDisplayError(RuntimeError):
    """MuJoCo's renderer cannot open a window or an off-screen surface on this machine."""


def choose_egl() -> None:
    """Lets MuJoCo draw off screen where there is no display, or MUJOCO_GL says "egl".

    MuJoCo chooses its OpenGL when it is imported, and without MUJOCO_GL that is a window, even
    where there is nothing to show one on. Models are mostly built before a camera is thought of, so
    the choice is made here once more. What MUJOCO_GL says otherwise, and a display, are respected.

    Raises:
        ImportError, AttributeError: there is no EGL library.
    """
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    asked = os.environ.get("MUJOCO_GL", "").lower().strip() or ("" if display else "egl")
    if sys.platform != "linux" or asked != "egl":
        return
    from mujoco.egl import GLContext

    gl_context.GLContext = GLContext
    os.environ["MUJOCO_GL"] = "egl"  # for processes that this one starts


@cache
def require_rendering() -> None:
    """Opens MuJoCo's renderer on a model of nothing; chooses EGL where that is called for.

    What worked once is not tried again in this process.

    Raises:
        NoDisplayError: no OpenGL can be had; the message names the remedies.
    """
    try:
        choose_egl()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mujoco.Renderer(mujoco.MjModel.from_xml_string("<mujoco/>"), 8, 8).close()
    except Exception as error:  # every OpenGL back end fails with a type of its own
        raise NoDisplayError(
            "MuJoCo's camera needs OpenGL and found none; install an EGL library and set "
            f"MUJOCO_GL=egl, or give the stand-in another `camera` ({error})"
        ) from error


def can_render() -> bool:
    """Returns whether MuJoCo's own camera works here."""
    try:
        require_rendering()
    except NoDisplayError:
        return False
    return True


class SimRobot:
    """A simulated robot with the flaws of a real one; implements `mjx_s2r.robot.driver.Driver`."""

    def __init__(
        self,
        mj_model: mujoco.MjModel,
        rig: Rig,
        clock: Clock,
        reality: Imperfections = PERFECT,
        sheet: mujoco.MjModel | None = None,
    ) -> None:
        """Builds the robot; ``mj_model`` is copied and already holds the held-out parameters.

        Its data sheet is that of ``sheet``, the robot as its maker describes it, if that is given.

        Raises:
            ParamError: a joint or camera that the model does not have.
            ContractError: a joint without one position servo or motor of its own.
        """
        self._info, self._wiring = describe(sheet or mj_model, rig), wire(mj_model, rig)
        self._model = weaken(mj_model, self._wiring.drives.actuators, reality.strength)
        self._data = mujoco.MjData(self._model)
        self._rig, self._clock, self._reality = rig, clock, reality
        self._renderers: dict[tuple[int, int], mujoco.Renderer] = {}
        self._zero = math.radians(reality.offset_deg)
        self._quantum = self._wiring.encoded_hinge * _count(reality.encoder_counts)
        self._bus: Bus
        self._commanded: np.ndarray
        self._driven: np.ndarray
        self._encoder: Encoder
        self._frames: dict[str, deque[tuple[float, np.ndarray]]] | None
        self.reset()

    @property
    def model(self) -> mujoco.MjModel:
        """The model of the real thing; for measuring success, not for the policy."""
        return self._model

    @property
    def data(self) -> mujoco.MjData:
        """The true state at the last `read`, `write` or `advance`."""
        return self._data

    @property
    def commanded(self) -> np.ndarray:
        """(J,) the last command that was written; before the first, where the joints began."""
        return self._commanded

    def describe(self) -> DriverInfo:
        """Returns joints, limits, signals and cameras, as a data sheet would (without flaws)."""
        return self._info

    def connect(self) -> None:
        """Opens the cameras' renderers.

        Raises:
            NoDisplayError: cameras are asked for and OpenGL is missing.
        """
        if self._rig.cameras and self._rig.camera is None and not self._renderers:
            require_rendering()

    def reset(
        self,
        qpos: Sequence[float] | np.ndarray | None = None,
        qvel: Sequence[float] | np.ndarray | None = None,
        bodies: Mapping[str, Pose] | None = None,
        seed: int | None = None,
        place: Callable[[mujoco.MjModel, mujoco.MjData], None] | None = None,
    ) -> None:
        """Puts the robot and the things around it somewhere, at rest in its gears, as time goes on.

        Actuators that are not commanded keep what `mjx_s2r.drives.rest_controls` says.

        Args:
            qpos: (S,) joint positions by `Rig.sensed`; None for the model's own.
            qvel: (S,) joint velocities; None for zero.
            bodies: mocap or free bodies by name -> pose.
            seed: starts the random draws again; None starts from the reality's seed.
            place: puts everything somewhere, after all the others; None leaves it there.

        Raises:
            ParamError: an unknown body.
            ValueError: a body that is neither mocap nor free.
        """
        wiring, data = self._wiring, self._data
        mujoco.mj_resetData(self._model, data)
        if qpos is not None:
            data.qpos[wiring.encoded_qpos[wiring.sensed]] = qpos
        if qvel is not None:
            data.qvel[wiring.encoded_qvel[wiring.sensed]] = qvel
        for name, pose in (bodies or {}).items():
            place_body(self._model, data, name, pose)
        if place is not None:
            place(self._model, data)
        data.ctrl[:], data.act[:] = rest_controls(self._model)
        drives = wiring.drives
        command = data.qpos[drives.qpos] if wiring.servo else np.zeros(len(drives.names))
        filters = drives.act >= 0
        data.act[drives.act[filters]] = command[filters]
        data.ctrl[drives.actuators] = command
        mujoco.mj_forward(self._model, data)
        self._rng = np.random.default_rng(self._reality.seed if seed is None else seed)
        self._origin_s, self._steps = self._clock.now_s(), 0
        self._rest(command)
        self._commanded = command.copy()
        self._encoder = Encoder(*(imperfections.quantise(x, self._quantum) for x in self._truth()))
        self._frames = None
        self._frame_count = dict.fromkeys((c.name for c in self._rig.cameras), 1)
        self._log_gain = {
            c.name: self._reality.exposure_drift * self._rng.standard_normal()
            for c in self._rig.cameras
        }

    def read(self) -> Reading:
        """Returns the encoders now and the newest delivered images."""
        self.advance()
        frames = {name: queue[0] for name, queue in (self._frames or {}).items()}
        sensed, senses = self._wiring.sensed, self._rig.senses
        return Reading(
            time_s=self._clock.now_s(),
            signals={
                "joint_pos": self._encoder.position[sensed],
                "joint_vel": self._encoder.velocity[sensed],
                **(senses.read(self._model, self._data, *self._encoded()) if senses else {}),
            },
            images={name: frame[1] for name, frame in frames.items()},
            image_time_s={name: frame[0] for name, frame in frames.items()},
        )

    def write(self, command: np.ndarray) -> None:
        """Puts a command (J,) on the bus."""
        self.advance()
        if np.shape(command) != (len(self._rig.joints),) or not np.all(np.isfinite(command)):
            raise ValueError(f"command {command} must be {len(self._rig.joints)} finite numbers")
        self._commanded = np.array(command, float)
        sent = self._commanded
        sent = sent if self._rig.course is None else self._rig.course(sent)
        sent = sent - self._zero * self._wiring.servo * self._wiring.drives.hinge
        now_s, dt_s = self._clock.now_s(), self._model.opt.timestep
        self._bus = imperfections.send(self._bus, self._reality, now_s, sent, self._rng, dt_s)

    def stop(self) -> None:
        """Holds the joints where they are (servos) or takes the force away (motors).

        Physics does not catch up first: stopping must not depend on a camera that works.
        """
        here = self._data.qpos[self._wiring.drives.qpos]
        self._rest(here if self._wiring.servo else np.zeros_like(here))

    def close(self) -> None:
        """Stops and closes the renderers."""
        self.stop()
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()

    def advance(self) -> None:
        """Moves physics and cameras up to the clock's time."""
        if self._frames is None:
            self._first_frames()
        dt_s = self._model.opt.timestep
        due = math.floor((self._clock.now_s() - self._origin_s) / dt_s + 1e-6)
        while self._steps < due:
            self._step(dt_s)
        _refresh(self._model, self._data)

    def _rest(self, command: np.ndarray) -> None:
        """Makes the servos follow ``command`` (J,), with nothing on its way and no play open."""
        self._bus = Bus(command.copy())
        self._driven = command.copy()

    def _truth(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns (E,) position, with the zero error, and (E,) velocity of hinges and slides."""
        wiring = self._wiring
        position = self._data.qpos[wiring.encoded_qpos] + self._zero * wiring.encoded_hinge
        return position, self._data.qvel[wiring.encoded_qvel].copy()

    def _encoded(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns qpos (nq,) and qvel (nv,), those of hinges and slides as the encoders say."""
        qpos, qvel = self._data.qpos.copy(), self._data.qvel.copy()
        qpos[self._wiring.encoded_qpos] = self._encoder.position
        qvel[self._wiring.encoded_qvel] = self._encoder.velocity
        return qpos, qvel

    def _step(self, dt_s: float) -> None:
        """Moves one physics step: bus, gears, physics, encoders, cameras."""
        reality, wiring, data = self._reality, self._wiring, self._data
        self._bus = imperfections.deliver(self._bus, self._origin_s + self._steps * dt_s)
        drive = self._bus.command
        if wiring.servo:
            half = wiring.drives.hinge * math.radians(reality.backlash_deg)
            dead = wiring.drives.hinge * math.radians(reality.deadband_deg)
            self._driven = imperfections.play(self._driven, drive, half)
            drive = imperfections.deadband(self._driven, data.qpos[wiring.drives.qpos], dead)
        data.ctrl[wiring.drives.actuators] = drive
        if self._rig.load is not None:
            self._rig.load(self._model, data)
        mujoco.mj_step(self._model, data)
        self._steps += 1
        self._encoder = imperfections.sense(
            self._encoder, self._truth(), self._quantum, reality.velocity_cutoff_hz, dt_s
        )
        self._take_due_frames(self._steps * dt_s)

    def _first_frames(self) -> None:
        """Takes one image per camera and fills the delivery queues with it."""
        depth = self._reality.camera_latency_frames + 1
        self._frames = {
            c.name: deque([(self._origin_s, self._take(c))] * depth, maxlen=depth)
            for c in self._rig.cameras
        }

    def _take_due_frames(self, elapsed_s: float) -> None:
        """Takes the images whose time has come; a dropped one repeats the frame before it."""
        assert self._frames is not None
        for camera in self._rig.cameras:
            if elapsed_s + 1e-9 < self._frame_count[camera.name] / camera.rate_hz:
                continue
            self._frame_count[camera.name] += 1
            self._log_gain[camera.name] = imperfections.drift(
                self._log_gain[camera.name], self._reality, 1 / camera.rate_hz, self._rng
            )
            queue = self._frames[camera.name]
            dropped = self._rng.random() < self._reality.dropped_frames
            queue.append(queue[-1] if dropped else (self._origin_s + elapsed_s, self._take(camera)))

    def _take(self, camera: CameraSignal) -> np.ndarray:
        """Returns one image as the sensor sees it, now: (H, W, 3) uint8, or (H, W) m."""
        _refresh(self._model, self._data)
        if self._rig.camera is not None:
            image = self._rig.camera(self._model, self._data, camera.name)
        else:
            image = self._render(camera)
        if not is_picture(camera, image):
            raise ValueError(
                f"camera {camera.name!r} gave {image.dtype} {image.shape}; expected "
                f"{camera.height}x{camera.width} pixels, RGB uint8 or depth float32"
            )
        if camera.kind == "depth":
            return image
        return imperfections.expose(image, self._reality, self._log_gain[camera.name], self._rng)

    def _render(self, camera: CameraSignal) -> np.ndarray:
        """Returns MuJoCo's own picture."""
        size = camera.height, camera.width
        if size not in self._renderers:
            require_rendering()
            self._renderers[size] = mujoco.Renderer(self._model, *size)
        renderer = self._renderers[size]
        renderer.update_scene(self._data, camera=camera.name)
        if camera.kind == "rgb":
            return renderer.render()
        renderer.enable_depth_rendering()
        try:
            return renderer.render()
        finally:
            renderer.disable_depth_rendering()


def _count(counts: int) -> float:
    """Returns the angle of one count, rad; 0 for no counting."""
    return 2 * math.pi / counts if counts else 0.0


def _refresh(model: mujoco.MjModel, data: mujoco.MjData) -> None:
    """Moves the geoms, sites and cameras to the present qpos; leaves the dynamics alone."""
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    mujoco.mj_camlight(model, data)
