"""What stays in memory of what took long."""

from __future__ import annotations

import threading
import time

import pytest

from app.kept import Kept


def test_the_latest_results_are_kept():
    kept: Kept[int, int] = Kept(2)
    computed: list[int] = []
    for key in (1, 2, 1, 3, 2, 1):
        assert kept.find(key, lambda key=key: computed.append(key) or key * key) == key * key
    assert computed == [1, 2, 3, 1]
    assert [kept.known(key) for key in (1, 2, 3)] == [1, None, 9]


def test_of_two_with_the_same_wish_one_computes():
    kept: Kept[str, int] = Kept(2)
    computed: list[int] = []
    wish = ("a", lambda: time.sleep(0.1) or computed.append(1) or 1)
    wishes = [threading.Thread(target=kept.find, args=wish) for _ in range(4)]
    for one in wishes:
        one.start()
    for one in wishes:
        one.join()
    assert computed == [1] and kept.known("a") == 1


def test_a_computation_that_fails_is_tried_again():
    kept: Kept[str, int] = Kept(2)
    with pytest.raises(ZeroDivisionError):
        kept.find("a", lambda: 1 // 0)
    assert kept.known("a") is None and kept.find("a", lambda: 5) == 5
