#!/bin/bash
# What launch/tpu.sh has every host of a slice do. Every step can be done twice.
#
#   setup DISK       install the checkout that this file lies in, mount gs://BUCKET or HOST:/SHARE
#   train OPTION...  start a training that goes on when the connection ends; its log is train.log
#   stop             end it by SIGTERM, which saves, and wait for that
set -euo pipefail
cd "$(dirname "$0")/.."
RUNS="${RUNS:-/runs}"

fail() {
  echo "error: $(hostname): $*" >&2
  exit 1
}

# Installs packages; a host that has just started may be at it itself, and holds the lock.
packages() {
  local try
  for try in 1 2 3 4 5; do
    sudo apt-get update -q && sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qy "$@" &&
      return
    echo "apt-get failed, try $try of 5" >&2
    sleep "${WAIT_S:-20}"
  done
  fail "apt-get cannot install $*; its own words are above"
}

# Mounts the disk at $RUNS, and proves that this host can write there.
mount_runs() {
  local probe
  probe=$RUNS/.probe-$(hostname)
  if ! mountpoint -q "$RUNS"; then
    sudo mkdir -p "$RUNS"
    if [[ $1 == gs://* ]]; then
      command -v gcsfuse >/dev/null || fail "there is no gcsfuse; install it on every host, see" \
        "cloud.google.com/storage/docs/cloud-storage-fuse/install, or export SHARE=host:/share"
      sudo chown "$(id -un)" "$RUNS"
      # Without the limit a bucket without hierarchical namespace renames no folder.
      gcsfuse --rename-dir-limit=10000 "${1#gs://}" "$RUNS" || fail "gcsfuse cannot mount $1"
    else
      packages nfs-common
      sudo mount -t nfs "$1" "$RUNS" || fail "cannot mount $1"
    fi
  fi
  { touch "$probe" && rm "$probe"; } || fail "$RUNS cannot be written; for a bucket, give the" \
    "service account of the slice the role Storage Object User on it"
}

# Trains until it ends. The lock, file 9, is held until then.
train() {
  .venv/bin/python -m train "${MJX_S2R_VERB:-teacher}" --resume "$@" &
  echo $! >train.pid
  wait $! || status=$?
  echo "$(date): ended with status ${status:-0}"
}

verb=${1:?setup, train or stop}
shift
case "$verb" in
setup)
  packages python3.11-venv libegl1 # mujoco asks for EGL when it is imported
  [[ -x .venv/bin/pip ]] || python3.11 -m venv --clear .venv
  .venv/bin/pip install -q -c constraints.txt -e ".[tpu]"
  mount_runs "${1:?the disk}"
  ;;
train)
  [[ -x .venv/bin/python ]] || fail "nothing is installed; run setup first"
  exec 9>>train.lock
  flock -n 9 || fail "a training runs here already; run log to follow it or stop to end it"
  echo "$(date): train ${MJX_S2R_VERB:-teacher} --resume $*" >>train.log
  rm -f train.pid
  setsid bash "$PWD/launch/tpu_host.sh" run "$@" </dev/null >>train.log 2>&1 &
  until [[ -s train.pid ]]; do sleep 0.1; done
  echo "$(hostname): started"
  ;;
run)
  train "$@"
  ;;
stop)
  if flock -n train.lock true; then
    echo "$(hostname): no training runs"
    exit
  fi
  kill -TERM "$(<train.pid)" || true # it may end just now
  flock -w "${STOP_S:-600}" train.lock true ||
    fail "it still saves; run stop again to wait on, or kill -9 $(<train.pid) to end it unsaved"
  echo "$(hostname): $(tail -n 1 train.log)"
  ;;
*)
  fail "$verb? setup, train or stop"
  ;;
esac
