"""MuJoCo's own window, in which a simulated robot is watched while it flies."""

import os
import sys
import time
from types import TracebackType
from typing import Any

import mujoco

from mjx_s2r.params import ParamError


class MujocoWindow:
    """A window that shows the state of whichever robot flies, at the pace of the real thing.

    It is a `mjx_s2r.report.flight_film.Watcher`. Closing it goes on without; another robot opens
    it anew.
    """

    def __init__(self, control_hz: float) -> None:
        """Takes how many states a second are shown.

        Raises:
            ParamError: there is no display.
        """
        shown = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        if sys.platform == "linux" and not shown:
            raise ParamError(
                "--window needs a display, and neither DISPLAY nor WAYLAND_DISPLAY names one; "
                "leave it out, and look at the page that is written"
            )
        self._pause_s, self._due_s = 1.0 / control_hz, 0.0
        self._model: mujoco.MjModel | None = None
        self._viewer: Any = None

    def __call__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Shows a state, not before its time."""
        if model is not self._model:
            self.close()
            self._model, self._viewer = model, _open(model, data)
            self._due_s = time.perf_counter()
        self._due_s += self._pause_s
        if self._viewer is None or not self._viewer.is_running():
            return
        self._viewer.sync()
        time.sleep(max(0.0, self._due_s - time.perf_counter()))

    def close(self) -> None:
        """Closes the window."""
        if self._viewer is not None:
            self._viewer.close()
        self._model, self._viewer = None, None

    def __enter__(self) -> "MujocoWindow":
        """Returns itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        """Closes the window."""
        self.close()


def _open(model: mujoco.MjModel, data: mujoco.MjData) -> Any:
    """Returns MuJoCo's passive viewer of a model.

    Raises:
        ParamError: it cannot be opened here.
    """
    try:
        import mujoco.viewer

        return mujoco.viewer.launch_passive(model, data, show_left_ui=False, show_right_ui=False)
    except (RuntimeError, ImportError) as error:  # no display, or macOS without mjpython
        raise ParamError(
            f"MuJoCo's window cannot be opened here ({error}); on macOS start with mjpython, not "
            "with python, or leave --window out"
        ) from error
