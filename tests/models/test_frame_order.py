"""In which order frames are processed."""

import pytest

from tlee.errors import UsageError
from tlee.models.config import frame_order


@pytest.mark.parametrize("count", [1, 2, 5, 8, 10, 16, 23])
def test_every_order_visits_every_frame_once_the_middle_first(count):
    order = frame_order(count)
    assert sorted(order) == list(range(count))
    assert order[0] == (9 if count == 16 else 3 if count == 8 else count // 2)  # 8 and 16 as published


def test_an_unknown_order_is_refused():
    with pytest.raises(UsageError, match="use coarse or chronological"):
        frame_order(10, "random")
