"""Who the processes of a run are is read from what a cluster says; one host needs nothing."""

import pytest

from mjx_s2r.runtime import distributed
from mjx_s2r.runtime.distributed import Cluster, HostError, detect

ONE_OF_FOUR = {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "3"}
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_NUM_NODES": "2",
}
OMPI = {
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "0",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    "OMPI_MCA_orte_hnp_uri": "1.0;tcp://10.0.0.1:5",
}


@pytest.mark.parametrize(
    ("env", "cluster"),
    [
        ({}, None),
        (ONE_OF_FOUR, Cluster("settings", "a:1", 4, 3, ())),
        (ONE_OF_FOUR | {"JAX_NUM_PROCESSES": "1", "JAX_PROCESS_ID": "0"}, None),
        # Kubernetes gives the number of the pod
        (
            {k: v for k, v in ONE_OF_FOUR.items() if k != "JAX_PROCESS_ID"}
            | {"JOB_COMPLETION_INDEX": "2"},
            Cluster("settings", "a:1", 4, 2, ()),
        ),
        # one task per node takes all its accelerators, not only the first
        (SLURM, Cluster("slurm", local=())),
        # two tasks on a node take one each; jax chooses by the local rank
        (SLURM | {"SLURM_STEP_NUM_NODES": "1"}, Cluster("slurm", local=None)),
        # the scheduler has chosen already: rank 1 sees a single one, whose number is 0
        (
            SLURM | {"SLURM_STEP_NUM_NODES": "1", "CUDA_VISIBLE_DEVICES": "5"},
            Cluster("slurm", local=()),
        ),
        (SLURM | {"SLURM_NTASKS": "1"}, None),  # a job of one task, as sweeps start them
        ({k: v for k, v in SLURM.items() if "STEP" not in k}, None),  # a shell without srun
        (OMPI, Cluster("ompi", local=None)),
        (OMPI | {"JAX_LOCAL_DEVICE_IDS": "1"}, Cluster("ompi", local=None)),
        (OMPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "1"}, Cluster("ompi", local=())),
        (OMPI | {"OMPI_COMM_WORLD_SIZE": "1"}, None),
    ],
)
def test_the_environment_says_who_there_is(env: dict[str, str], cluster: Cluster | None) -> None:
    assert detect(env) == cluster


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"JAX_COORDINATOR_ADDRESS": "a:1"}, "JAX_NUM_PROCESSES is not; set both, or none"),
        (ONE_OF_FOUR | {"JAX_PROCESS_ID": "4"}, "JAX_PROCESS_ID 4 is not one of"),
        (ONE_OF_FOUR | {"JAX_NUM_PROCESSES": "four"}, "JAX_NUM_PROCESSES='four' is not a number"),
        ({k: v for k, v in OMPI.items() if "uri" not in k}, "set JAX_COORDINATOR_ADDRESS=HOST"),
    ],
)
def test_settings_that_are_incomplete_are_named(env: dict[str, str], words: str) -> None:
    with pytest.raises(HostError, match=words):
        detect(env)


@pytest.mark.parametrize(
    ("env", "several"),
    [
        ({"TPU_WORKER_HOSTNAMES": "t0,t1"}, True),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
        ({"TPU_SKIP_MDS_QUERY": "1"}, False),
    ],
)
def test_a_tpu_slice_has_several_hosts(
    env: dict[str, str], several: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed.devices, "accelerators", lambda: frozenset({"tpu"}))
    assert detect(env) == (Cluster("tpu") if several else None)
    monkeypatch.setattr(distributed.devices, "accelerators", lambda: frozenset())
    assert detect(env) is None


def test_one_host_needs_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits, an error is the caller's, and a failing training raises as it did."""
    for name in ("JAX_COORDINATOR_ADDRESS", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert not distributed.join()
    assert distributed.is_writer() and not distributed.is_distributed()
    assert distributed.run_on_all("nothing", lambda: 3) == 3
    assert (
        distributed.any_process(True)
        and not distributed.any_process(False)
        and distributed.broadcast(5) == 5
    )
    tree = {"a": 1, "b": [2.0]}
    assert distributed.collect(tree) is tree
    with pytest.raises(ZeroDivisionError), distributed.fail_fast(lambda: pytest.fail("called")):
        distributed.run_on_all("division", lambda: 1 // 0)


def test_who_trains_alone_says_so_where_several_were_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    distributed.require_single("student runs/s")
    monkeypatch.setenv(distributed.ADDRESS_ENV, "localhost:1")
    monkeypatch.setenv(distributed.COUNT_ENV, "2")
    monkeypatch.setenv(distributed.INDEX_ENV, "0")
    with pytest.raises(HostError, match=r"student runs/s trains in one process.*\(settings\)"):
        distributed.require_single("student runs/s")
