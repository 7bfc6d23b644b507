#!/bin/bash
# A teacher on SLURM: one process per node, or per GPU, that train as one.
#
#   sbatch launch/slurm.sh --task reach --run /shared/runs/reach --ppo.worlds 8192
#   sbatch --nodes=1 --gres=gpu:1 launch/slurm.sh --task cartpole --run /shared/runs/cartpole
#   sbatch --ntasks-per-node=8 launch/slurm.sh ...     one process per GPU instead
#
# Everything after the file's name goes to `python -m train teacher`. Submit from the checkout; the
# folder of the run must lie on a disk that all nodes see. MJX_S2R_VENV names the environment
# (default .venv). What mjx_s2r.hosts.join needs it reads from SLURM's own variables.
#
# Nothing is lost: 120 s before the time limit or a preemption every process gets SIGTERM, all of
# them end the same iteration, process 0 saves it, and the job is queued again and goes on with
# --resume. A node that dies ends the other processes within MJX_S2R_HEARTBEAT_S seconds; with
# --requeue SLURM starts the job again from the last checkpoint.
#
#SBATCH --job-name=mjx_s2r
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gres=gpu:8
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -uo pipefail
cd "${SLURM_SUBMIT_DIR:?submit this file with sbatch}"

export MJX_S2R_HEARTBEAT_S="${MJX_S2R_HEARTBEAT_S:-60}"
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"

# The folder is the argument after --run; a run that is there already is gone on with.
run=runs/teacher
arguments=("$@")
for ((i = 0; i < $#; i++)); do
  [[ ${arguments[i]} == --run ]] && run=${arguments[i + 1]:?--run needs a folder}
  [[ ${arguments[i]} == --run=* ]] && run=${arguments[i]#--run=}
done
resume=()
[[ -e $run/config.json ]] && resume=(--resume)

srun --kill-on-bad-exit=1 "${MJX_S2R_VENV:-.venv}/bin/python" -m train teacher "$@" "${resume[@]}"
status=$?

# 130: stopped by SIGTERM, the state is saved. Queue the same job again.
if ((status == 130)); then
  echo "stopped and saved; queued again"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
