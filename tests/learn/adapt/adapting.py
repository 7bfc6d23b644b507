"""An adaptation on the cartpole with a thumbnail camera, whose real pictures are made up."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from mjx_s2r.contract import CameraSignal
from mjx_s2r.envs.cartpole import CONTRACT, Cartpole
from mjx_s2r.learn.adapt.adaptation import Adaptation, RealBatch, RealFrames
from mjx_s2r.learn.adapt.adapted_student import AdaptedStudent
from mjx_s2r.learn.adapt.config import AdaptationConfig
from mjx_s2r.learn.distill.config import DistillConfig
from mjx_s2r.learn.distill.distillation import Distillation
from mjx_s2r.learn.networks.gaussian import Gaussian, gaussian
from mjx_s2r.learn.trainer import Trainer
from tests.learn.distill.students import student_of

STUDENT = DistillConfig(
    num_envs=4,
    num_steps=2,
    num_minibatches=2,
    num_epochs=1,
    hidden=(16,),
    cnn_channels=4,
    shift_pixels=1,
)
SIZE = 16


def teacher(obs: dict[str, jax.Array]) -> Gaussian:
    """Pushes against the cart's position and the pole's sine, which are signals 0 and 2."""
    mean = 0.5 - 0.5 * obs["state"][:, :1] - 0.5 * obs["state"][:, 2:3]
    return gaussian(mean, jnp.full((1,), -1.0))


def frames(rng: np.random.Generator, *shape: int, labelled: bool = True) -> RealFrames:
    """Returns frames whose action is in the picture: 0.8 where it is bright above, else -0.8."""
    right = rng.uniform(size=shape) < 0.5
    images = np.full((*shape, SIZE, SIZE, 3), 60, np.uint8)
    images[..., : SIZE // 2, :, :] += np.where(right, 120, 0)[..., None, None, None].astype(
        np.uint8
    )
    actions = np.where(right, 0.8, -0.8).astype(np.float32)[..., None]
    obs = rng.normal(size=(*shape, CONTRACT.size)).astype(np.float32)
    first = np.ones(shape, bool)
    return RealFrames(obs, (images,), first, actions if labelled else None)


def host_batch(settings: AdaptationConfig, labelled: bool = True, held_out: bool = True):  # noqa: ANN201
    """Returns what gives an iteration its real frames, a function of its number alone."""

    def give(iteration: int) -> RealBatch:
        """Returns them."""
        rng = np.random.default_rng((3, iteration))
        shape = settings.num_minibatches, 1, settings.real_batch
        target = frames(rng, *shape, labelled=False)
        kept = frames(np.random.default_rng(9), 1, 16) if held_out else None
        return RealBatch(frames(rng, *shape) if labelled else None, target, kept)

    return give


def adapting(settings: AdaptationConfig, **given: bool) -> Trainer:
    """Returns the trainer of an adaptation of a student that has just been born."""
    contract = replace(CONTRACT, cameras=(CameraSignal("fixed", SIZE, SIZE, 100.0),))
    config = replace(
        STUDENT,
        num_envs=settings.num_envs,
        num_minibatches=settings.num_minibatches,
        acts="student",
    )
    trainer = student_of(teacher, Cartpole(contract=contract), config)
    distillation = trainer.algorithm
    assert isinstance(distillation, Distillation)
    obs = {"state": jax.random.normal(jax.random.key(1), (1, CONTRACT.size))}
    born = distillation.init(obs, key=jax.random.key(2))
    student = AdaptedStudent(distillation.student, settings.residual_hidden, settings.domain_bit)
    image = jax.random.randint(jax.random.key(3), (1, 1, SIZE, SIZE, 3), 0, 256).astype(jnp.uint8)
    shown = (jnp.zeros((1, 0)), obs["state"][None], (image,), jnp.ones((1, 1), bool))
    params = student.init(born.params, *shown, rank=settings.adapter_rank, key=jax.random.key(4))
    algorithm = Adaptation(
        settings, replace(distillation, student=student), (params, born.obs_norm)
    )
    batches = host_batch(settings, **given)
    return replace(trainer, algorithm=algorithm, host_batch=batches)
