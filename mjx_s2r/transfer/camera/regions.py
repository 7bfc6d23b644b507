"""What a camera sees of a scene whose colours and lamps are unknown: regions, and their shading.

A pixel's light is linear in what is not known. On the surface g, with the unit normal n in the
world's frame, far lamps and a Lambertian surface give each colour channel

    y = a_g + b_g . n        (first order of Basri and Jacobs 2003, "Lambertian reflectance and
                              linear subspaces", with the surface's colour and the lamps in a, b)

so that a picture is the sum over g, k of coefficient (g, k) times a basis picture, which the
renderer draws from geometry alone. The coefficients of one set of pictures are found by linear
least squares inside every evaluation (variable projection, Golub and Pereyra 1973): what is left is
a function of the camera. Cast shadows, highlights, textures and things that the model does not know
stay in the residual.

Several rays a pixel make the basis pictures smooth enough for finite differences.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from mjx_s2r.params import ParamSpace
from mjx_s2r.render import raycast
from mjx_s2r.render.geometry.pose import ScenePose, scene_pose
from mjx_s2r.render.geometry.rays import camera_in_world
from mjx_s2r.render.geometry.scene import Scene, build_scene
from mjx_s2r.render.looks.appearance import AppearanceBinding, appearance, bind_appearance

SHADES = 4  # 1 and the three components of the normal
FLAT = 1e-4  # share of its pixels by which a region is told to be matt and lit evenly
LEAST = 0.02  # px that hold a region's colour at zero, for regions out of sight


@dataclass(frozen=True, eq=False)
class PosedScene:
    """A model's scene in M poses, seen by one of its cameras through the rows of a table.

    Attributes:
        scene: what is drawn, ``samples`` rays a pixel along each side.
        binding: the fitted rows, bound to the camera.
        pose: where everything is, leading axis M.
        shown: (G,) 0 for what is drawn and must not count: its place is unknown.
        samples: rays along each side of a pixel.
    """

    scene: Scene
    binding: AppearanceBinding
    pose: ScenePose
    shown: np.ndarray
    samples: int

    @property
    def regions(self) -> int:
        """Number of regions: the drawn geoms and, last, the sky."""
        return len(self.scene.geoms) + 1

    @property
    def size(self) -> tuple[int, int, int]:
        """Number of poses and the picture's height and width, px."""
        s = self.samples
        return self.pose.cam_pos.shape[0], self.scene.height // s, self.scene.width // s

    def rough(self, most: int) -> tuple["PosedScene", np.ndarray]:
        """Returns the scene in at most ``most`` of its poses, one ray a pixel, and which."""
        count, height, width = self.size
        few = np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))
        scene = replace(self.scene, height=height, width=width)
        pose = jax.tree.map(lambda leaf: leaf[few], self.pose)
        return replace(self, scene=scene, pose=pose, samples=1), few

    @functools.cached_property
    def basis(self) -> Callable[[np.ndarray], jax.Array]:
        """Compiled: (D,) values of the rows -> (M, H, W, 4 (G + 1)) the basis pictures."""
        draw = jax.jit(functools.partial(_basis_pictures, self.scene, self.binding, self.samples))
        return lambda xi: draw(self.pose, self.shown, jnp.asarray(xi, jnp.float32))


def pose_scene(
    mj_model: mujoco.MjModel,
    camera: str,
    space: ParamSpace,
    qpos: np.ndarray,
    size: tuple[int, int],
    *,
    samples: int = 2,
    unknown: tuple[str, ...] = (),
) -> PosedScene:
    """Puts a model into M poses.

    Args:
        mj_model: the model.
        camera: name of its camera.
        space: the rows that are fitted.
        qpos: (M, nq) positions, m and rad.
        size: height and width of the pictures, px.
        samples: rays along each side of a pixel.
        unknown: bodies whose place the recording does not tell; they are left out.

    Raises:
        ParamError: no such camera, or a row that does not fit it.
        SceneError: a geom that cannot be drawn.
    """
    scene = build_scene(mj_model, camera, samples * size[0], samples * size[1])
    data, poses = mujoco.MjData(mj_model), []
    for positions in qpos:
        data.qpos[:] = positions
        mujoco.mj_kinematics(mj_model, data)
        mujoco.mj_camlight(mj_model, data)
        poses.append(jax.tree.map(lambda x: np.array(x, np.float32), scene_pose(scene, data)))
    bodies = {mj_model.body(name).id for name in unknown}
    known = [g.decor or int(mj_model.geom_bodyid[g.id]) not in bodies for g in scene.geoms]
    return PosedScene(
        scene,
        bind_appearance(space, mj_model, camera),
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *poses),
        np.array(known, np.float32),
        samples,
    )


def _basis_pictures(
    scene: Scene,
    binding: AppearanceBinding,
    samples: int,
    pose: ScenePose,
    shown: jax.Array,
    xi: jax.Array,
) -> jax.Array:
    """Returns (M, H, W, 4 (G + 1)) the basis pictures at xi (D,)."""
    count, s = pose.cam_pos.shape[0], samples
    one = replace(appearance(binding, xi), geom_shown=jnp.asarray(shown))
    look = jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), one)
    image = raycast.render(scene, pose, look, outputs=("segmentation", "normal"))
    _, turn = jax.vmap(functools.partial(camera_in_world, scene))(pose, look)
    assert image.segmentation is not None and image.normal is not None
    seen, normal = image.segmentation, jnp.einsum("mij,mhwj->mhwi", turn, image.normal)
    shades = jnp.concatenate((jnp.ones_like(normal[..., :1]), normal), axis=-1)
    height, width = scene.height // s, scene.width // s

    def averaged(index: int) -> jax.Array:
        """Returns (M, H, W, 4) the basis pictures of one region."""
        here = jnp.where(jnp.equal(seen, index)[..., None], shades, 0.0)
        return here.reshape(count, height, s, width, s, SHADES).mean((2, 4))

    return jnp.concatenate([averaged(i) for i in (*scene.ids, -1)], axis=-1)


@dataclass(frozen=True, eq=False)
class Blur:
    """A Gaussian blur and the places where the blurred picture is read.

    Attributes:
        down: (h, H) weights of the rows.
        across: (w, W) weights of the columns.
    """

    down: np.ndarray
    across: np.ndarray

    def __call__(self, pictures: jax.Array) -> jax.Array:
        """Returns (M, h, w, C) of pictures (M, H, W, C)."""
        return jnp.einsum("hH,mHWc,wW->mhwc", self.down, pictures, self.across, optimize="optimal")


def blur_of(height: int, width: int, sigma_px: float) -> Blur:
    """Returns a blur of ``sigma_px``, read about every 1.2 deviations, at every pixel at least."""
    step = max(1, int(1.2 * sigma_px))
    sides = []
    for size in (height, width):
        places = np.arange((step - 1) / 2, size, step)
        apart = np.arange(size)[None] - places[:, None]
        weights = np.exp(-0.5 * (apart / max(sigma_px, 1e-3)) ** 2)
        sides.append((weights / weights.sum(1, keepdims=True)).astype(np.float32))
    return Blur(*sides)


def coefficients(basis: jax.Array, pictures: jax.Array, weights: jax.Array) -> jax.Array:
    """Returns (R, 3) what the basis pictures are multiplied by, by weighted least squares.

    Args:
        basis: (..., R) basis pictures.
        pictures: (..., 3) what was measured, in [0, 1].
        weights: (...) of the pixels.
    """
    flat = basis.reshape(-1, basis.shape[-1])
    seen, weight = pictures.reshape(-1, 3), weights.reshape(-1, 1)
    gram, right = flat.T @ (weight * flat), flat.T @ (weight * seen)
    area = jnp.diagonal(gram)[::SHADES]
    shaded = jnp.repeat(area, SHADES) * jnp.where(jnp.arange(gram.shape[0]) % SHADES, FLAT, 0.0)
    held = gram + jnp.diag(shaded + LEAST)
    return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(held), right)
