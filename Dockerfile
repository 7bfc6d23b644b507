# mjx_s2r in a container: the demo, training, the robot side with its stand-in.
#
#   docker build -t mjx_s2r .
#   docker run --rm -v "$PWD/runs:/work/runs" mjx_s2r make demo
#   docker run --rm -v "$PWD/runs:/work/runs" mjx_s2r python -m train teacher --task cartpole
#
# For an NVIDIA GPU (jax brings CUDA along, the host brings the driver):
#
#   docker build -t mjx_s2r:cuda --build-arg EXTRAS=train,cuda,robot,model,logs .
#   docker run --rm --gpus all --ipc=host -v "$PWD/runs:/work/runs" mjx_s2r:cuda make demo
#
# The user is not root. runs/ must be writable by number 1000, or say --user "$(id -u):$(id -g)".
# launch/Dockerfile is the smaller image of a teacher on Kubernetes.
ARG PYTHON=3.11
FROM python:${PYTHON}-slim-bookworm

# make: the commands. libegl1 and libosmesa6: the stand-in's camera draws by OpenGL, on a GPU or in
# software (libgl1-mesa-dri). tini: process 1 would not pass a SIGTERM on.
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        libegl1 libgl1 libgl1-mesa-dri libosmesa6 make tini \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 1000 s2r
WORKDIR /work

# What is installed depends on these files alone: a change of the code leaves this layer as it is.
# The environment lies where the Makefile looks for it, so that make installs nothing again.
ARG EXTRAS=train,robot,model,logs
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN mkdir mjx_s2r && touch mjx_s2r/__init__.py \
    && python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check \
        -c constraints.txt -e ".[${EXTRAS}]"

COPY . .
RUN touch /opt/venv/.installed && mkdir -p runs /cache && chmod 1777 runs /cache

ENV VENV=/opt/venv \
    PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MJX_S2R_CACHE=/cache/xla \
    MUJOCO_GL=egl
USER s2r
ENTRYPOINT ["tini", "--"]
CMD ["make", "help"]
