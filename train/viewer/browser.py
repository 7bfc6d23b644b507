"""A trained policy live in a browser: a few worlds side by side, and a slider for every row.

Needs ``pip install "mjx_s2r[viewer]"``. A slider sets a row of the first world and begins the
episode anew; the worlds beside it are drawn from the ranges that the policy was trained on. What is
shown are the shapes of the model, in the sizes that each world has, without textures, lights, sites
and tendons.
"""

import importlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mjx_s2r.params import ParamError
from mjx_s2r.params.param import Param
from mjx_s2r.runtime.progress import console
from mjx_s2r.sim.env import Env
from mjx_s2r.sim.interface import EpisodeParams, State
from train.viewer.pilot import PolicyViewer, ViewerState
from train.viewer.viser_scene import ViserScene

STEPS = 200  # that a slider has from end to end


def require() -> Any:
    """Returns the package viser.

    Raises:
        ParamError: it is not installed, or too old; says how to.
    """
    try:
        viser = importlib.import_module("viser")
    except ModuleNotFoundError as error:
        raise ParamError(
            f"--browser needs the package viser, which cannot be imported ({error}); install it "
            "with pip install 'mjx_s2r[viewer]'"
        ) from error
    if not hasattr(viser.ViserServer, "initial_camera"):
        raise ParamError(
            f"viser {viser.__version__} is too old for --browser; pip install 'viser>=1.0.20'"
        )
    return viser


class Show:
    """The running page: worlds, sliders and buttons.

    Callbacks come from threads of the server; they only leave wishes, which `turn` grants.
    """

    def __init__(self, viewer: PolicyViewer, server: Any, seed: int) -> None:
        """Puts sliders and shapes on the page and begins an episode."""
        self.viewer, self.server = viewer, server
        self.key = jax.random.key(seed)
        self.stage = ViserScene(server.scene, viewer.env.task.mj_model, viewer.num_worlds)
        self.draws: EpisodeParams = viewer.sample_params(viewer.num_worlds, self.key)
        self.playing, self.speed = True, 1.0
        self.sliders: dict[str, Any] = {}
        self._anew = threading.Event()
        self._episode, self._index = 0, 0
        self._controls()
        self._rows()
        self.stage.stand(server.initial_camera)
        self.now: ViewerState = self._begin()

    def _controls(self) -> None:
        """Adds what is shown, play, speed and the buttons."""
        gui, task = self.server.gui, self.viewer.env.task
        gui.add_markdown(
            f"**{task.name}**: world 1 is as its sliders say, the others are drawn from the ranges "
            "that the policy was trained on."
        )
        play = gui.add_checkbox("play", True)
        play.on_update(lambda _: setattr(self, "playing", bool(play.value)))
        speed = gui.add_slider("speed", min=0.1, max=4.0, step=0.1, initial_value=1.0)
        speed.on_update(lambda _: setattr(self, "speed", float(speed.value)))
        if self.stage.body:
            follow = gui.add_checkbox("follow", True, hint="keep every robot in its place")
            follow.on_update(lambda _: setattr(self.stage, "follows", bool(follow.value)))
        gui.add_button("again", hint="begin the episode anew").on_click(lambda _: self._anew.set())
        gui.add_button("nominal", hint="all sliders to what the model says").on_click(
            lambda _: self._nominal()
        )
        self.note = gui.add_markdown("")

    def _rows(self) -> None:
        """Adds a slider for each row of the first world that has anything to slide along."""
        space = self.viewer.env.space
        with self.server.gui.add_folder("world 1"):
            for row, value in zip(space.rows, np.asarray(self.draws.xi[0]), strict=True):
                low, high = row.limits
                if row.group == "visual" or low == high:
                    continue
                slider = self.server.gui.add_slider(
                    row.name if row.unit == "1" else f"{row.name} [{row.unit}]",
                    min=low,
                    max=high,
                    step=step_of(row),
                    initial_value=float(np.clip(value, low, high)),
                    hint=row.source or None,
                )
                slider.on_update(lambda _: self._anew.set())
                self.sliders[row.name] = slider

    def _nominal(self) -> None:
        """Sets every slider to its nominal value."""
        for row in self.viewer.env.space.rows:
            if row.name in self.sliders:
                self.sliders[row.name].value = row.nominal
        self._anew.set()

    def _begin(self) -> ViewerState:
        """Returns fresh worlds, the first one as the sliders say."""
        self._episode, self._index = self._episode + 1, 0
        xi = np.array(self.draws.xi)
        for name, slider in self.sliders.items():
            xi[0, self.viewer.env.space.index(name)] = slider.value
        self.draws = replace(self.draws, xi=jnp.asarray(xi))
        now = self.viewer.begin(self.draws, jax.random.fold_in(self.key, self._episode))
        sizes = now.worlds.pipeline_state.leaves.get("geom_size")
        self.stage.build(None if sizes is None else np.asarray(sizes))
        self._draw(now.worlds)
        if self._episode == 1:
            self.note.content += "\n\ncompiling: the worlds move in a minute or two"
        return now

    def turn(self) -> None:
        """Takes one control step, or begins anew where that is due."""
        if self._anew.is_set() or bool(self.now.over.all()):
            self._anew.clear()
            self.now = self._begin()
            return
        key = jax.random.fold_in(self.key, 10_000 * self._episode + self._index)
        self.now = self.viewer.step(self.now, self._index, key)
        self._index += 1
        self._draw(self.now.worlds)

    def _draw(self, worlds: State) -> None:
        """Moves the shapes and says how the worlds fare."""
        data = self.viewer.view(worlds)
        count = self.viewer.env.task.mj_model.ngeom
        position = np.asarray(data.geom_xpos).reshape(self.viewer.num_worlds, count, 3)
        rotation = np.asarray(data.geom_xmat).reshape(self.viewer.num_worlds, count, 3, 3)
        name = self.stage.body
        body = None
        if name:
            body = np.asarray(data.xpos)[:, self.viewer.env.task.mj_model.body(name).id]
        with self.server.atomic():
            self.stage.move(position, rotation, body)
        self.note.content = told(worlds, self._index, self.viewer.env)

    def waits(self) -> bool:
        """Returns whether there is nothing to do: it does not play, and nobody asked for more."""
        return not self.playing and not self._anew.is_set()


def told(worlds: State, index: int, env: Env) -> str:
    """Returns how the worlds fare after ``index`` control steps, as Markdown."""
    held, hz = jax.device_get((worlds.metrics, worlds.done)), env.task.contract.control_hz
    lines = [f"{index / hz:.2f} of {env.episode_steps / hz:.0f} s", "", "| world | return | |"]
    lines.append("|---|---|---|")
    for world, (total, success, done) in enumerate(
        zip(held[0]["return"], held[0]["success"], held[1], strict=True)
    ):
        state = "success" if success else "over" if done else ""
        lines.append(f"| {world + 1} | {total:.1f} | {state} |")
    return "\n".join(lines)


def step_of(row: Param) -> float:
    """Returns the step of a row's slider: whole numbers for a choice, else a part of the range."""
    return 1.0 if row.law == "categorical" else (row.limits[1] - row.limits[0]) / STEPS


def show(
    viewer: PolicyViewer, server: Any, seed: int, goes_on: Callable[[], bool] = lambda: True
) -> Show:
    """Shows a policy at the speed at which it happens, as far as this machine can.

    Args:
        viewer: the policy.
        server: a viser server.
        seed: of the worlds.
        goes_on: asked before every control step; by default until Ctrl-C.
    """
    console.print("compiling; then the page moves. Ctrl-C ends it")
    page = Show(viewer, server, seed)
    due_s = time.perf_counter()
    while goes_on():
        if page.waits():
            time.sleep(0.02)
            due_s = time.perf_counter()
            continue
        page.turn()
        due_s += 1 / (viewer.env.task.contract.control_hz * page.speed)
        now_s = time.perf_counter()
        time.sleep(max(0.0, due_s - now_s))
        due_s = max(due_s, now_s - 0.1)  # a slow machine does not catch up in a rush
    return page
