"""Image encoders on pictures of 64x64: forward passes and a student's gradient step, pictures/s.

Each pretrained backbone, cut at each stage that a picture of 64x64 allows, runs in three ways: in
XLA with all pictures at once, in XLA a few at a time as training does on a CPU, and in ONNX Runtime
with the weights as constants, which is how frozen features could be computed outside of JAX. The
weights are random: they cost as much as real ones. One core is meant: see docs/encoders.md.
"""

import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
from jax2onnx import to_onnx

from benchmarks.rows import Row, Settings, timed
from benchmarks.timing import measure
from mjx_s2r.learn.distill.config import DistillConfig
from mjx_s2r.learn.distill.losses import DistillBatch, distill_loss
from mjx_s2r.learn.distill.teachers import TeacherAnswer
from mjx_s2r.learn.networks.augment import to_float
from mjx_s2r.learn.networks.encoders.architecture import Kind
from mjx_s2r.learn.networks.encoders.backbone import Backbone, feature_maps
from mjx_s2r.learn.networks.encoders.config import EncoderConfig, Trained
from mjx_s2r.learn.networks.gaussian import Gaussian
from mjx_s2r.learn.networks.modules import StudentNetwork
from mjx_s2r.onnx_rewrite import shortened
from mjx_s2r.runtime.devices import gradient_compiler_options

SIZE, READINGS, JOINTS = 64, 20, 6
KINDS: tuple[Kind, ...] = ("mobilenet_v2", "efficientnet_lite0")
STAGES = (8, 16)
ORT_AT_ONCE = 16  # pictures a call, the quickest of 1, 2, 4, 8, 16 and 64
OPTIONS: dict[str, Any] = {"compiler_options": gradient_compiler_options()}


def run(settings: Settings) -> list[Row]:
    """Returns pictures/s of every encoder, and how far ONNX Runtime is from XLA."""
    count = max(16, settings.images // 16 * 16)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, SIZE, SIZE, 3)).astype(np.uint8)
    rows: list[Row] = []
    for kind in KINDS:
        for stage in STAGES:
            rows += forward_rows(EncoderConfig(kind, stage=stage), images, settings)
    return rows + step_rows(images, settings)


def forward_rows(config: EncoderConfig, images: np.ndarray, settings: Settings) -> list[Row]:
    """Returns pictures/s of a backbone, forward alone, and the largest difference."""
    net = Backbone(config)
    shown = jnp.asarray(images)
    params = net.init(jax.random.key(0), to_float(shown[:1]))
    session = onnx_session(config, params)

    @partial(jax.jit, **OPTIONS)
    def parts(params: Any, images: jax.Array) -> Any:
        return net.apply(params, to_float(images))

    @partial(jax.jit, **OPTIONS)
    def whole(params: Any, images: jax.Array) -> jax.Array:
        return feature_maps(config.kind, config.stage, params["params"], to_float(images))

    def outside() -> np.ndarray:
        """Returns the features by ONNX Runtime."""
        cut = range(0, len(images), ORT_AT_ONCE)
        return np.concatenate(
            [session.run(None, {"x": images[i : i + ORT_AT_ONCE]})[0] for i in cut]
        )

    calls: dict[str, Callable[[], Any]] = {
        "xla": lambda: parts(params, shown),
        "xla_at_once": lambda: whole(params, shown),
        "onnxruntime": outside,
    }
    timings = measure(calls, settings.repeat, settings.min_s)
    apart = np.abs(np.moveaxis(outside(), 1, 3) - np.asarray(parts(params, shown))).max()
    name = f"{config.kind}_{config.stage}"
    out = [
        row
        for what, timing in timings.items()
        for row in timed("encoders", f"{name}.{what}.images_per_s", timing, len(images), "images/s")
    ]
    return [*out, Row("encoders", f"{name}.onnxruntime_error", float(apart), "1")]


def onnx_session(config: EncoderConfig, params: Any) -> onnxruntime.InferenceSession:
    """Returns a backbone in ONNX Runtime, on as many threads as this process has cores."""
    deployed = replace(Backbone(config), deployed=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = to_onnx(
            lambda x: deployed.apply(params, to_float(x)),
            [jax.ShapeDtypeStruct(("B", SIZE, SIZE, 3), jnp.uint8)],
            model_name="backbone",
            opset=17,
            input_names=["x"],
            output_names=["y"],
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    return onnxruntime.InferenceSession(
        shortened(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def step_rows(images: np.ndarray, settings: Settings) -> list[Row]:
    """Returns pictures/s of the gradient of a student's loss, of each mode."""
    modes: tuple[tuple[Kind, Trained], ...] = (
        ("scratch", "none"),
        ("mobilenet_v2", "none"),
        ("mobilenet_v2", "last"),
        ("mobilenet_v2", "all"),
    )
    calls: dict[str, Callable[[], Any]] = {}
    for kind, trained in modes:
        name = kind if kind == "scratch" else f"{kind}_8.{trained}"
        calls[name] = gradient(EncoderConfig(kind, trained=trained), images)
    timings = measure(calls, settings.repeat, settings.min_s)
    return [
        row
        for name, timing in timings.items()
        for row in timed("encoders", f"step.{name}.images_per_s", timing, len(images), "images/s")
    ]


def gradient(config: EncoderConfig, images: np.ndarray) -> Callable[[], Any]:
    """Returns the gradient of a student's loss over a batch of pictures, as a call."""
    settings = DistillConfig(encoder=config)
    student = StudentNetwork(settings.hidden, JOINTS, 3, encoder=config)
    rng = np.random.default_rng(1)
    normal = lambda size: jnp.asarray(rng.normal(size=(1, len(images), size)), jnp.float32)  # noqa: E731
    policy = Gaussian(normal(JOINTS), jnp.full((1, len(images), JOINTS), -1.0))
    batch = DistillBatch(
        obs=normal(READINGS),
        images=(jnp.asarray(images)[None],),
        is_first=jnp.zeros((1, len(images)), bool),
        teacher=TeacherAnswer(policy, jnp.zeros((1, len(images)))),
        label=normal(3),
        rnn_state=jnp.zeros((1, len(images), 0)),
    )
    key = jax.random.key(0)
    given = batch.rnn_state[0], batch.obs, batch.images, batch.is_first
    params = student.init(key, *given)
    loss = jax.grad(partial(distill_loss, student, settings), has_aux=True)
    step = jax.jit(loss, **OPTIONS)
    return lambda: step(params, batch, key)
