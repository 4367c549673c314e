"""When a crashed service is started again."""

import pytest

from onegai.supervisor.restarts import Backoff


@pytest.mark.parametrize(
    ("lives", "delays"),
    [
        ([0, 0, 0, 0], [1, 2, 4, 8]),
        ([0, 0, 0, 0, 0, 0], [1, 2, 4, 8, None, 1]),
        ([0, 0, 3600, 0], [1, 2, 1, 2]),
        ([59.9, 60], [1, 1]),
    ],
)
def test_backoff(lives: list[float], delays: list[float | None]) -> None:
    backoff = Backoff()
    assert [backoff.crashed(lived) for lived in lives] == delays
