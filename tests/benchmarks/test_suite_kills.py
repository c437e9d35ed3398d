"""The small form of benchmarks/nano.yaml that is killed twice."""

from pathlib import Path

from benchmarks.suite_kills import declare
from ear.suite.spec import read_spec
from ear.suite.suite import Suite


def test_the_small_form_is_a_suite_of_the_same_model_with_every_kind_of_cell(tmp_path: Path) -> None:
    results = declare(tmp_path / "suite")
    spec = read_spec(results.with_suffix(".yaml"))
    assert spec.results == results and spec.model == "janus-nano" and spec.split == "test"
    assert [cell.name for cell in Suite(spec, tmp_path / "store", results).cells] == [
        "church-on-policy-r0-t0",
        "church-paper-r0-t0",
        "church-oracle-r0-t0",
        "church-on-policy-r1-t0",
        "church-paper-r1-t0",
        "church-on-policy-r0-t1",
    ]
