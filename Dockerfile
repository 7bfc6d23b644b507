# The image of launch/kubernetes.yaml: a teacher on NVIDIA GPUs.
#
#   docker build -f launch/Dockerfile -t REGISTRY/mjx_s2r .          in the root of the checkout
#   docker run --gpus all --ipc=host -v "$PWD/runs:/runs" REGISTRY/mjx_s2r \
#     teacher --resume --task=cartpole --run=/runs/cartpole
#
# jax brings CUDA along as wheels; the host brings the driver, for CUDA 12.
FROM python:3.11-slim

# libegl1: mujoco asks for it when it is imported. tini: process 1 would not feel a SIGTERM that
# comes before the trainer listens for it.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libegl1 tini \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /work
ENV PYTHONPATH=/work PYTHONUNBUFFERED=1

# What is installed depends on these files alone: a change of the code leaves this layer as it is.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN pip install --no-cache-dir -c constraints.txt -e ".[cuda]"

COPY mjx_s2r mjx_s2r
COPY train train

ENTRYPOINT ["tini", "--", "python", "-m", "train"]
