"""Each example in a small form, on Janus-nano (`janus_pro.py` on a tiny random Janus)."""

import runpy
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from ear.method.recipes import DEFAULT
from ecgvf.llm.registry import Rates
from examples import church, janus_pro, own_concept, own_judge, own_pairs
from tests.llm_server import LlmServer


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_church_erases_and_measures(capsys: pytest.CaptureFixture[str]) -> None:
    evaluation = church.main(pairs=3, validation=2, tests=1, prompts=1, others=0, passes=1, rehearsed=8)
    printed = capsys.readouterr().out
    assert "nano-object-a accepts" in printed
    assert evaluation.recipe == DEFAULT.name and evaluation.erasure.before.n == 1
    sheet = printed.rsplit("Contact sheet: ", 1)[1].strip()
    assert Path(sheet).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_own_judge_filters() -> None:
    dataset = own_judge.main(pairs=3, evaluation=1)
    assert dataset.judge == "mean-of-two" and len(dataset.train) >= 1


@pytest.mark.slow
def test_own_pairs_are_imported_and_filtered(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text(own_pairs.CSV, encoding="utf-8")
    dataset = own_pairs.main(file)
    targets = {record.pair.target for record in dataset.train}
    assert targets and targets <= {line.split(",")[0] for line in own_pairs.CSV.splitlines()[1:]}


@pytest.mark.slow
def test_own_concept_by_an_own_server() -> None:
    with LlmServer().running() as server:
        server.prices["mine"] = Rates(input=Decimal(0), output=Decimal(0))
        edited = own_concept.MOSQUE.replace("dome", "large dome")
        Path("mosque.yaml").write_text(edited, encoding="utf-8")
        dataset = own_concept.main(f"{server.url}/openai/v1", "mine", pairs=3, evaluation=2)
    assert Path("mosque.yaml").read_text(encoding="utf-8") == edited
    assert dataset.concept.name == "mosque" and {record.pair.writer for record in dataset.train} == {"own"}


@pytest.mark.slow
def test_janus_pro_runs_on_a_tiny_random_model() -> None:
    evaluation = janus_pro.tiny()
    assert evaluation.recipe == "paper" and evaluation.erasure.before.n == 4
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize("arguments", [["own_concept.py"], ["janus_pro.py", "--tinny"]])
def test_wrong_arguments_are_a_line_on_how_to_run_it(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = Path(own_concept.__file__).parent / arguments[0]
    monkeypatch.setattr(sys, "argv", [str(script), *arguments[1:]])
    with pytest.raises(SystemExit, match=r"^2$"):
        runpy.run_path(str(script), run_name="__main__")
    printed = capsys.readouterr()
    assert printed.err.startswith(f"usage: {script.name}") and printed.out == ""
