"""The worlds of a live page as a viser scene: every shape of every world by its number."""

from dataclasses import dataclass, field
from typing import Any

import mujoco
import numpy as np

from mjx_s2r.report.flight_film import following_camera
from train.viewer.triangles import colours, shown, triangle_mesh

APART = 1.5  # sizes of a world between two of them
LINES = 8  # of the grid that moves under a robot that is followed, across a world
VIEW = np.array((0.22, -0.74, 0.51))  # where one first stands, seen from the middle of the worlds
GREY = (150, 150, 150)


def endless(mj_model: mujoco.MjModel, geom: int) -> bool:
    """Returns whether a geom is a plane without end."""
    plane = mj_model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_PLANE
    return bool(plane and not mj_model.geom_size[geom, :2].all())


def led(mj_model: mujoco.MjModel) -> str:
    """Returns the body that a camera of the model follows; empty where none does."""
    names = following_camera(mj_model)
    return mj_model.body(int(mj_model.camera(names[0]).bodyid[0])).name if names else ""


def bounds(mj_model: mujoco.MjModel) -> np.ndarray:
    """Returns (2, 3) m the least and the greatest corner of what is shown, planes left out.

    The model's own extent counts planes and whatever is too far off to be of interest.
    """
    data = mujoco.MjData(mj_model)
    mujoco.mj_kinematics(mj_model, data)
    solid = [i for i in shown(mj_model) if mj_model.geom_type[i] != mujoco.mjtGeom.mjGEOM_PLANE]
    if not solid:
        reach = float(mj_model.stat.extent) / 2
        return np.asarray(mj_model.stat.center) + np.array([[-reach], [reach]])
    turned = data.geom_xmat[solid].reshape(-1, 3, 3)
    box = mj_model.geom_aabb[solid]  # middle and half sizes, in the geom's frame
    middle = data.geom_xpos[solid] + np.einsum("gij,gj->gi", turned, box[:, :3])
    half = np.einsum("gij,gj->gi", np.abs(turned), box[:, 3:])
    return np.stack(((middle - half).min(axis=0), (middle + half).max(axis=0)))


@dataclass
class ViserScene:
    """The shapes of N worlds in the scene of a server.

    A robot that walks off is followed: its world moves back under it, and a grid on the floor shows
    how fast.

    Attributes:
        scene: viser's scene.
        mj_model: the model.
        count: N.
        places: (N, 3) where each world's origin stands, m.
        middle: (3,) of what is shown, in a world, m.
        side: distance of two worlds, m.
        handles: world, geom -> the shape that moves.
        body: name of the body that is followed; empty where none is.
        follows: whether it is.
    """

    scene: Any
    mj_model: mujoco.MjModel
    count: int
    places: np.ndarray = field(init=False)
    middle: np.ndarray = field(init=False)
    side: float = field(init=False)
    handles: dict[tuple[int, int], Any] = field(init=False, default_factory=dict)
    body: str = field(init=False)
    follows: bool = field(init=False)
    _grids: list[Any] = field(init=False, default_factory=list)
    _sizes: np.ndarray | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Places the worlds in a square, each with its number above it."""
        self.body = led(self.mj_model)
        self.follows = bool(self.body)
        corners = bounds(self.mj_model)
        self.middle, self.side = corners.mean(axis=0), APART * float(np.ptp(corners, axis=0).max())
        columns = int(np.ceil(np.sqrt(self.count)))
        index = np.arange(self.count)
        cells = np.stack((index % columns, -(index // columns), np.zeros(self.count)), axis=1)
        self.places = self.side * cells
        above = np.array((*self.middle[:2], corners[1, 2] + 0.1 * self.side))
        for world, place in enumerate(self.places):
            at = tuple(place + above)
            self.scene.add_label(f"/number/{world}", f"world {world + 1}", position=at)

    def stand(self, camera: Any) -> None:
        """Places the camera that one begins with so that all worlds are seen."""
        middle = self.places.mean(axis=0) + self.middle
        across = float(np.ptp(self.places, axis=0).max()) + self.side
        camera.look_at = tuple(middle)
        camera.position = tuple(middle + across * VIEW)

    def build(self, sizes: np.ndarray | None) -> None:
        """Makes every shape of every world, ``sizes`` (N, ngeom, 3) m where worlds differ in them.

        A plane without end is shown once: worlds beside one another share it.
        """
        before = self._sizes
        if self.handles and (sizes is None or before is None or (sizes == before).all()):
            return
        self._sizes = sizes
        rgba, model = colours(self.mj_model), self.mj_model
        for geom in shown(model):
            shared = endless(model, geom)
            for world in range(1 if shared else self.count):
                size = None if sizes is None else sizes[world, geom]
                mesh = triangle_mesh(model, geom, size)
                self.handles[world, geom] = self.scene.add_mesh_simple(
                    f"/world_{world}/{geom}_{model.geom(geom).name}",
                    vertices=mesh.vertices.astype(np.float32),
                    faces=mesh.faces.astype(np.uint32),
                    color=tuple(int(c) for c in np.clip(255 * rgba[geom, :3], 0, 255)),
                    opacity=None if rgba[geom, 3] >= 1 else float(rgba[geom, 3]),
                    side="double",
                )
            if shared and self.body and not self._grids:
                self._rule()

    def _rule(self) -> None:
        """Draws a grid for every world: on a plain floor nobody sees a robot move."""
        for world in range(self.count):
            grid = self.scene.add_grid(
                f"/grid/{world}",
                width=self.side,
                height=self.side,
                cell_size=self.side / LINES,
                section_size=self.side / LINES,
                cell_color=GREY,
                section_color=GREY,
            )
            self._grids.append(grid)

    def move(self, position: np.ndarray, rotation: np.ndarray, body: np.ndarray | None) -> None:
        """Moves every shape to where it is.

        Args:
            position: (N, ngeom, 3) m.
            rotation: (N, ngeom, 3, 3).
            body: (N, 3) m where the body is that can be followed; None where there is none.
        """
        gone = np.zeros((self.count, 3))
        if body is not None and self.follows:
            gone[:, :2] = body[:, :2]
        quat, cell = np.zeros(4), self.side / LINES
        for (world, geom), handle in self.handles.items():
            mujoco.mju_mat2Quat(quat, np.array(rotation[world, geom], float).ravel())
            handle.wxyz = tuple(quat)
            still = endless(self.mj_model, geom)
            moved = self.places[world] - (0 if still else gone[world])
            handle.position = tuple(position[world, geom] + moved)
        for world, grid in enumerate(self._grids):
            past = gone[world] - cell * np.round(gone[world] / cell)
            grid.position = tuple(self.places[world] - past + (0, 0, 0.002 * self.side))
