import random

import pytest
from kill import TASKS, laboratory, trial, undisturbed


@pytest.fixture(scope="module")
def base():
    with laboratory() as folder:
        yield folder


@pytest.mark.parametrize("name", TASKS)
def test_what_was_killed_goes_on_to_what_an_undisturbed_run_leaves(name, base):
    task, draw = TASKS[name], random.Random(name)
    expected, seconds = undisturbed(task, base)
    kills = sum(trial(task, base, expected, seconds, draw) for _ in range(3))
    assert kills >= 3
