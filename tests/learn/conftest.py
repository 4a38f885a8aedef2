"""Learner tests keep their pretrained networks in a folder of the test session, not in the user's cache."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """$DEFECTDB_CACHE for this session; one thread, so that runs repeat exactly."""
    before = os.environ.get("DEFECTDB_CACHE")
    os.environ["DEFECTDB_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    torch.set_num_threads(1)
    yield
    if before is None:
        del os.environ["DEFECTDB_CACHE"]
    else:
        os.environ["DEFECTDB_CACHE"] = before
