"""Films of episodes on simulated robots: the robot, and in a corner what its policy sees.

While an episode runs, only its states are kept; they are drawn when it is over, by MuJoCo.
"""

from collections.abc import Callable, Mapping, Sequence

import mujoco
import numpy as np

from mjx_s2r.eval.robot_episodes import EpisodeJudge, GoalState
from mjx_s2r.report.media import evenly_spaced
from mjx_s2r.robot.drivers.sim_robot import require_rendering

Watcher = Callable[[mujoco.MjModel, mujoco.MjData], None]
"""Is shown the robot's true state after each control step."""

_MODES = mujoco.mjtCamLight
FOLLOWS = (int(_MODES.mjCAMLIGHT_TRACK), int(_MODES.mjCAMLIGHT_TRACKCOM))
_KEPT = (
    mujoco.mjtState.mjSTATE_QPOS
    | mujoco.mjtState.mjSTATE_MOCAP_POS
    | mujoco.mjtState.mjSTATE_MOCAP_QUAT
)
UNTOLD, SIDE = (90.0, -45.0), (120.0, -28.0)  # azimuth and elevation: MuJoCo's own, and ours, deg
NEARER = 0.65  # the free camera's distance, of the one from which MuJoCo shows all
EYE, FRAME_PX = 0.36, 2  # height of a policy's picture, as a share of the film's; its frame
GOOD, BAD = (46, 160, 97), (214, 69, 58)


class StateRecorder:
    """A judge that keeps the robot's true state at every reading; else the judge that it wraps.

    Implements `robot_episodes.EpisodeJudge`.

    Attributes:
        sizes, courses, loads: as of the judge.
        states: of the episode that runs, or has ended, at every control step.
    """

    def __init__(self, judge: EpisodeJudge, watch: Watcher | None = None) -> None:
        """Wraps a judge; ``watch`` is shown every state as well."""
        self._judge, self._watch = judge, watch
        self.sizes, self.courses, self.loads = judge.sizes, judge.courses, judge.loads
        self.states: list[np.ndarray] = []

    @property
    def state(self) -> GoalState:
        """What the task says of the robot at the last reading."""
        return self._judge.state

    def begin(self, seed: int) -> Callable[[mujoco.MjModel, mujoco.MjData], None]:
        """Starts an episode, and forgets the one before."""
        self.states = []
        return self._judge.begin(seed)

    def note(self, action: np.ndarray) -> None:
        """Hands the policy's action (J,) on."""
        self._judge.note(action)

    def read(
        self, model: mujoco.MjModel, data: mujoco.MjData, qpos: np.ndarray, qvel: np.ndarray
    ) -> Mapping[str, np.ndarray]:
        """Returns the task's signals, and keeps where everything is."""
        state = np.empty(mujoco.mj_stateSize(model, _KEPT))
        mujoco.mj_getState(model, data, state, _KEPT)
        self.states.append(state)
        if self._watch is not None:
            self._watch(model, data)
        return self._judge.read(model, data, qpos, qvel)

    def course(self, command: np.ndarray) -> np.ndarray:
        """Returns (n, J) what becomes of a command (J,)."""
        return self._judge.course(command)

    def load(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Sets what acts from outside."""
        self._judge.load(model, data)


def following_camera(mj_model: mujoco.MjModel) -> list[str]:
    """Returns the name of the first camera that follows a body; nothing where there is none."""
    cameras = [mj_model.camera(i) for i in range(mj_model.ncam)]
    return [c.name for c in cameras if c.name and int(c.mode[0]) in FOLLOWS][:1]


def draw_states(
    mj_model: mujoco.MjModel, states: Sequence[np.ndarray], size: tuple[int, int]
) -> np.ndarray:
    """Returns (F, H, W, 3) uint8: MuJoCo's pictures of states that a `StateRecorder` kept.

    They are taken by the model's camera that follows the robot, or by the free one, from where it
    shows all.

    Args:
        mj_model: the robot's model.
        states: the states.
        size: height and width, px.

    Raises:
        NoDisplayError: there is no OpenGL.
    """
    require_rendering()
    data, camera = mujoco.MjData(mj_model), view_of(mj_model)
    shots = []
    with mujoco.Renderer(mj_model, *size) as renderer:
        for state in states:
            mujoco.mj_setState(mj_model, data, state, _KEPT)
            mujoco.mj_kinematics(mj_model, data)
            mujoco.mj_comPos(mj_model, data)
            mujoco.mj_camlight(mj_model, data)
            mujoco.mj_tendon(mj_model, data)
            renderer.update_scene(data, camera)
            shots.append(renderer.render().copy())
    return np.stack(shots)


def view_of(mj_model: mujoco.MjModel) -> str | mujoco.MjvCamera:
    """Returns the camera that follows the robot, or the free one, near enough to see it move.

    A model that says where it wants to be seen from (visual/global) is seen from there.
    """
    followers = following_camera(mj_model)
    if followers:
        return followers[0]
    camera = mujoco.MjvCamera()
    mujoco.mjv_defaultFreeCamera(mj_model, camera)
    if (camera.azimuth, camera.elevation) == UNTOLD:
        camera.azimuth, camera.elevation = SIDE
    camera.distance *= NEARER
    return camera


def with_eye(shots: np.ndarray, seen: np.ndarray | None) -> np.ndarray:
    """Returns a film (F, H, W, 3) with what the policy saw (F, h, w, 3) in its lower right corner.

    A pixel of the policy's picture stays a square.
    """
    if seen is None:
        return shots
    out, height, width = shots.copy(), *shots.shape[1:3]
    times = max(1, round(EYE * height / seen.shape[1]))
    large = seen.repeat(times, axis=1).repeat(times, axis=2)[:, :height, :width]
    framed = np.pad(large, ((0, 0), (FRAME_PX,) * 2, (FRAME_PX,) * 2, (0, 0)), constant_values=255)
    framed = framed[:, : height - FRAME_PX, : width - FRAME_PX]
    out[:, height - framed.shape[1] :, width - framed.shape[2] :] = framed
    return out


def with_outcome(shots: np.ndarray, frames: int, success: bool) -> np.ndarray:
    """Returns a film of ``frames`` pictures: the last one lasts, framed in green or red."""
    last = shots[-1].copy()
    colour, px = (GOOD if success else BAD), 2 * FRAME_PX
    last[:px], last[-px:], last[:, :px], last[:, -px:] = (colour,) * 4
    held = np.broadcast_to(last, (max(0, frames - len(shots)), *last.shape))
    return np.concatenate((shots[:-1], last[None], held))[:frames]


def thinned(count: int, hz: float, most_hz: float, most: int) -> np.ndarray:
    """Returns the indices of at most ``most`` and at most ``most_hz`` of ``count`` readings."""
    return evenly_spaced(count, min(most, max(2, round(count * min(1.0, most_hz / hz)))))
