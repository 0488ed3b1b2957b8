"""Hosts are detected, or their flags asked for."""

import pytest
from jax._src import clusters

from dsh_jax import errors
from dsh_jax.runs import cluster

SLURM = {
  "SLURM_JOB_ID": "70000",
  "SLURM_STEP_NODELIST": "node[3-4]",
  "SLURM_NTASKS": "2",
  "SLURM_PROCID": "1",
  "SLURM_LOCALID": "0",
  "SLURM_STEP_NUM_NODES": "2",
}
ALONE = (None, None, None)


def test_hosts_are_detected_unless_jax_has_moved_what_detects(monkeypatch):
  for name, value in SLURM.items():
    monkeypatch.setenv(name, value)
  address, count, index = cluster._detect(*ALONE, 1)
  assert address.startswith("node3:") and (count, index) == (2, 1)
  monkeypatch.delattr(
    clusters.ClusterEnv, "auto_detect_unset_distributed_params"
  )
  with pytest.raises(errors.UserError, match="Give --coordinator=HOST:PORT"):
    cluster.join(*ALONE, 1)


@pytest.mark.parametrize(
  "arguments", [("here:1", 2, 2), ("here", 2, 0), ("here:1", 0, 0), ALONE]
)
def test_arguments_that_are_wrong_are_refused(arguments):
  with pytest.raises(errors.UserError, match="Cannot join the other hosts: "):
    cluster.join(*arguments, 1)
