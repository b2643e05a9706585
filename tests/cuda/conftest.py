from __future__ import annotations

import pytest

from tests.cuda.stand_in import CannotBuild, StandIn, build


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    """Libraries in the place of CUDA's. Where there is no compiler, or no CUDA headers, the tests are skipped."""
    try:
        return build(tmp_path_factory.mktemp("stand-in"))
    except CannotBuild as error:
        pytest.skip(str(error))
