"""The private Slurm of this folder's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers.slurm_cluster import SlurmCluster, missing


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    if reason := missing():
        pytest.fail(reason, pytrace=False)
    with SlurmCluster(tmp_path_factory.mktemp("slurm") / "cluster") as started:
        yield started
