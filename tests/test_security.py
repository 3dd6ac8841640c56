"""SECURITY.md names a test for every promise, and the tests that it names are there."""

from __future__ import annotations

import re
from pathlib import Path

from hostile import CASES

HERE = Path(__file__).parent
PAGE = (HERE.parent / "SECURITY.md").read_text(encoding="utf-8")
ROWS = [row.split(" | ") for row in PAGE.split("## What is not promised")[0].splitlines() if row.startswith("| ")]
PROMISES = [row for row in ROWS if "`" in row[-1]]


def test_every_promise_names_tests_that_exist():
    assert len(PROMISES) > 20
    for promise, tests in PROMISES:
        module = ""
        for name in re.findall("`([^`]+)`", tests):
            if (HERE / f"{name}.py").is_file():
                module = (HERE / f"{name}.py").read_text(encoding="utf-8")
            else:
                assert f"def {name}(" in module or name in CASES or (HERE.parent / name).is_file(), (promise, name)


def test_no_promise_is_without_a_test():
    tables = [row for row in ROWS if row[0] != "| promise" and len(row) == 2 and "---" not in row[0]]
    assert tables == PROMISES
