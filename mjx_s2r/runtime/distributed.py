"""Distributed training: several processes as one, the one that writes, and what they agree on.

A cluster starts the same command once per node or per accelerator. `join` finds out from the
environment that it did, and connects them; on one host it does nothing. From then on every process
runs the same program on its part of the worlds (see `mjx_s2r.runtime.sharding`), and process 0
alone writes the run's folder, which lies on a disk that all of them see.

A process that loses another cannot go on: its sums over worlds would wait for ever. The collective
fails at once where the network notices, otherwise the heartbeat ends the process after
`HEARTBEAT_ENV` seconds. Nothing is lost but the iterations since the last checkpoint: start the
command again with --resume, with as many processes as there are.

Nothing here runs at import; jax is imported inside the functions, as in `mjx_s2r.runtime.devices`.
"""

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mjx_s2r.runtime import devices

if TYPE_CHECKING:
    from collections.abc import Iterator

ADDRESS_ENV, COUNT_ENV, INDEX_ENV = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
HEARTBEAT_ENV, JOIN_ENV = "MJX_S2R_HEARTBEAT_S", "MJX_S2R_JOIN_S"
HEARTBEAT_S, JOIN_S, LEAVE_S = 60, 300, 30
LOST = ("gloo", "connection closed", "connection reset", "nccl", "heartbeat", "coordination")

T = TypeVar("T")


class HostError(RuntimeError):
    """Processes that cannot work together; the message names which, why and the remedy."""


@dataclass(frozen=True)
class Cluster:
    """Processes of this run, as the environment describes them.

    Attributes:
        found_by: who started them: "settings", "slurm", "ompi" or "tpu".
        address: host:port of process 0; None lets jax find it.
        count: how many there are; None lets jax find it.
        index: which one this is; None lets jax find it.
        local: accelerators of this process; () all that it sees, None the one of its local rank.
    """

    found_by: str
    address: str | None = None
    count: int | None = None
    index: int | None = None
    local: tuple[int, ...] | None = None


def detect(env: Mapping[str, str]) -> Cluster | None:
    """Returns the cluster that the variables ``env`` tell of, None on a host of its own.

    Raises:
        HostError: settings that lack one of their parts, or have a wrong one.
    """
    if env.get(ADDRESS_ENV):
        count = _number(env, COUNT_ENV)
        index = _number(env, INDEX_ENV, "JOB_COMPLETION_INDEX")  # Kubernetes numbers its pods
        if not 0 <= index < count:
            raise HostError(f"{INDEX_ENV} {index} is not one of {COUNT_ENV} {count} processes")
        return Cluster("settings", env[ADDRESS_ENV], count, index, ()) if count > 1 else None
    if int(env.get("SLURM_NTASKS", "1")) > 1 and "SLURM_STEP_NODELIST" in env:
        alone = env.get("SLURM_STEP_NUM_NODES") == env["SLURM_NTASKS"]
        return Cluster("slurm", local=_local(env, alone))
    if int(env.get("OMPI_COMM_WORLD_SIZE", "1")) > 1:
        if "OMPI_MCA_orte_hnp_uri" not in env:
            raise HostError(
                f"Open MPI does not say where process 0 is; set {ADDRESS_ENV}=HOST:PORT, "
                f"{COUNT_ENV}=$OMPI_COMM_WORLD_SIZE and {INDEX_ENV}=$OMPI_COMM_WORLD_RANK"
            )
        return Cluster("ompi", local=_local(env, env.get("OMPI_COMM_WORLD_LOCAL_SIZE") == "1"))
    return Cluster("tpu") if _tpu_slice(env) else None


def join() -> bool:
    """Connects this process with the others of its run; returns whether there are others.

    Call it after `devices.configure` and before the first array. A second call changes nothing.

    Raises:
        HostError: the others do not come within $MJX_S2R_JOIN_S seconds, or jax has started.
    """
    import jax

    cluster = None if jax.distributed.is_initialized() else detect(os.environ)
    if cluster is None:
        return jax.distributed.is_initialized() and jax.process_count() > 1
    if devices.accelerators() == frozenset():
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    wait_s = _number(os.environ, JOIN_ENV, default=JOIN_S)
    try:
        jax.distributed.initialize(
            cluster.address,
            cluster.count,
            cluster.index,
            local_device_ids=cluster.local,
            initialization_timeout=wait_s,
            heartbeat_timeout_seconds=_number(os.environ, HEARTBEAT_ENV, default=HEARTBEAT_S),
            shutdown_timeout_seconds=LEAVE_S,
        )
    except (RuntimeError, ValueError) as error:
        raise HostError(
            f"found by {cluster.found_by}: processes did not come together within {wait_s} s: "
            f"{str(error).splitlines()[0]}; check the address {cluster.address or ''} and that all "
            "of them run, or start one process without these variables"
        ) from error
    return jax.process_count() > 1


def require_single(what: str) -> None:
    """Proves that no other process was started to share this work.

    Raises:
        HostError: there are others; ``what`` trains in one process.
    """
    cluster = detect(os.environ)
    if cluster is not None:
        raise HostError(
            f"{what} trains in one process, on all of its devices; the environment "
            f"({cluster.found_by}) speaks of several. Start one, without these variables"
        )


def is_writer() -> bool:
    """Returns whether this process writes the run's folder: process 0, or the only one."""
    import jax

    return jax.process_index() == 0


def is_distributed() -> bool:
    """Returns whether more than one process runs."""
    import jax

    return jax.process_count() > 1


def run_on_all(what: str, action: Callable[[], T]) -> T:
    """Returns ``action()`` of this process once all have ended theirs; fails if one failed.

    Without this, those that wait for the result of a process that failed would wait for ever.

    Raises:
        HostError: another process failed.
    """
    if not is_distributed():
        return action()
    failure, result = None, None
    try:
        result = action()
    except Exception as error:
        failure = error
    failed = [i for i, bad in enumerate(_everywhere(failure is not None)) if bad]
    if failure is not None:
        raise failure
    if failed:
        raise HostError(f"{what}: process {failed[0]} failed; its own message says why")
    return result  # type: ignore[return-value]


def any_process(flag: bool) -> bool:
    """Returns whether ``flag`` is set on any process; all of them must ask."""
    return bool(any(_everywhere(flag))) if is_distributed() else flag


def broadcast(value: int) -> int:
    """Returns process 0's ``value``; all of them must ask."""
    return int(_everywhere(value)[0]) if is_distributed() else value


def collect(tree: Any) -> Any:
    """Returns ``tree`` with a whole copy of every leaf of other processes; all must ask."""
    import jax
    from jax.sharding import NamedSharding, PartitionSpec

    def away(leaf: Any) -> bool:
        return isinstance(leaf, jax.Array) and not leaf.is_fully_addressable

    leaves, structure = jax.tree.flatten(tree)
    far = [leaf for leaf in leaves if away(leaf)]
    if not far:
        return tree
    whole = NamedSharding(far[0].sharding.mesh, PartitionSpec())
    near = iter(jax.jit(_same, out_shardings=whole)(far))
    return jax.tree.unflatten(
        structure, [next(near).addressable_data(0) if away(leaf) else leaf for leaf in leaves]
    )


@contextmanager
def fail_fast(finish: Callable[[], None]) -> "Iterator[None]":
    """Ends this process with a message when its work fails while others wait for it.

    A process that leaves in the ordinary way first waits for the others; they wait for its part.
    ``finish`` is called before the end: it must not ask the others for anything.
    """
    try:
        yield
    except Exception as error:
        if not is_distributed():
            raise
        words = f"{type(error).__name__}: {error}"
        if any(word in words.lower() for word in LOST):
            words = f"another process of this run is gone ({words.splitlines()[0][:200]})"
        print(
            f"error: {words}\nprocess {_index()} ends; what was saved is kept, "
            "run the same command with --resume to go on",
            file=sys.stderr,
            flush=True,
        )
        finish()
        sys.stdout.flush()
        os._exit(1)


def _same(tree: Any) -> Any:
    """Returns what it is given: moving it is the work."""
    return tree


def _everywhere(value: int) -> Any:
    """Returns the ``value`` of every process, in their order."""
    import numpy as np
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(np.int32(value)).reshape(-1)


def _index() -> int:
    """Returns the number of this process."""
    import jax

    return jax.process_index()


def _local(env: Mapping[str, str], alone: bool) -> tuple[int, ...] | None:
    """Returns which accelerators are this process's; jax alone would always take its local rank's.

    A process that is alone on its node takes all, and one to which the scheduler shows a single
    accelerator takes that, whatever its rank.
    """
    if env.get("JAX_LOCAL_DEVICE_IDS"):
        return None
    shown = env.get("CUDA_VISIBLE_DEVICES", env.get("ROCR_VISIBLE_DEVICES", ""))
    return () if alone or (shown and "," not in shown) else None


def _tpu_slice(env: Mapping[str, str]) -> bool:
    """Returns whether this is one of several hosts of a TPU slice, which jax finds by itself."""
    if "tpu" not in devices.accelerators():
        return False
    names = env.get("TPU_PROCESS_ADDRESSES", env.get("TPU_WORKER_HOSTNAMES", ""))
    if names:
        return "," in names
    found = [*Path("/dev").glob("accel[0-9]*"), *Path("/dev/vfio").glob("[0-9]*")]
    return bool(found) and "TPU_SKIP_MDS_QUERY" not in env


def _number(env: Mapping[str, str], *names: str, default: int | None = None) -> int:
    """Returns the number in the first variable of ``names`` that is set.

    Raises:
        HostError: none is, and there is no default; or it is no number.
    """
    for name in names:
        if env.get(name):
            if not env[name].isdecimal():
                raise HostError(f"{name}={env[name]!r} is not a number")
            return int(env[name])
    if default is None:
        raise HostError(f"{ADDRESS_ENV} is set, {names[0]} is not; set both, or none")
    return default
