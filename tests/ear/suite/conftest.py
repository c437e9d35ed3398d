"""A suite of a tiny model, with the judges of nano's world in place of judges that need weights."""

import multiprocessing

import pytest

from ear.evaluation import judges as evaluation_judges
from ear.suite import runner
from ecgvf.filter import stage as filter_stage
from tests.ear.conftest import AgreeingJudge, brightness_judge

FORK = multiprocessing.get_context("fork")  # a child that imports nothing


@pytest.fixture
def nano_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    """The judges, and so the families, are of nano's world whatever the model; cells are forked."""
    monkeypatch.setattr("ear.suite.suite.retained_families", lambda *_: ["plant"])
    monkeypatch.setattr("ear.suite.suite.create_judge", lambda *_: AgreeingJudge())
    monkeypatch.setattr(filter_stage, "create_judge", lambda *_: AgreeingJudge([True, False] * 16))
    monkeypatch.setattr(evaluation_judges, "create_judge", brightness_judge)
    monkeypatch.setattr(runner, "get_context", lambda _: FORK)
