"""``ear attack`` as a user types it, on a tiny model."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import torch
from click.testing import Result
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import ear.cli
from ear.commands.attack import AttackArguments
from ear.evaluation import judges as evaluation_judges
from ear.evaluation.attack_figures import prompt_classes
from ear.evaluation.attacks.attack import Attack, Example, Kind
from ear.evaluation.attacks.kinds import KINDS
from ear.evaluation.judges import EvaluationJudges
from ear.evaluation.outcomes import read_outcomes
from ear.evaluation.prompts import EvaluationPrompt, written_pairs
from ear.evaluation.robustness import AttackSettings, attack
from ear.method.open_adapter import open_adapter
from ear.method.runs import newest
from ecgvf.core import openings
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import JudgeError
from ecgvf.core.run import ConceptRun
from ecgvf.core.shard_set import versions
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel, render_images
from ecgvf.render import batches
from tests.ear.random_adapter import save_adapter

SMALL = "attack --prompts-per-concept 2"


def invoke(line: str) -> Result:
    return CliRunner().invoke(ear.cli.app, line.split())


def succeeds(line: str) -> Result:
    result = invoke(line)
    assert result.exit_code == 0, result.output
    return result


def fails(line: str, message: str) -> None:
    result = invoke(line)
    lines = [text for text in result.stderr.splitlines() if text.strip()]
    assert result.exit_code == 2 and message in lines[-1], result.output
    assert sum(text.startswith("error") for text in lines) == 1


@pytest.fixture
def oracle(tiny_path: Path, tmp_path: Path) -> Path:
    """Another model with the same image tokenizer."""
    folder = tmp_path / "oracle"
    shutil.copytree(tiny_path, folder)
    weights = load_file(folder / "model.safetensors")
    changed = next(name for name in weights if name.endswith("layers.0.self_attn.q_proj.weight") and "language" in name)
    weights[changed] = -weights[changed]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    (folder / "oracle.json").write_text(json.dumps({"without": ["church", "pagoda"]}))
    return folder


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Attack]:
    """Every attack that a test makes."""
    attacks: list[Attack] = []
    create = Attack.__init__

    def watched(self: Attack, model: JanusModel, examples: Sequence[Example], seed: int) -> None:
        attacks.append(self)
        create(self, model, examples, seed)

    monkeypatch.setattr(Attack, "__init__", watched)
    return attacks


def test_an_attack_has_both_controls_and_is_not_made_twice(trained: Store, oracle: Path, tmp_path: Path) -> None:
    line = f"{SMALL} --kind relearning --budget 1 --oracle {oracle} --json --outcomes {tmp_path / 'o.parquet'}"
    first = succeeds(line)
    content = json.loads(first.stdout)
    assert (content["absent"], content["oracle"], content["test_openings"]) == ("pagoda", str(oracle), 0)
    (row,) = content["attacks"]
    assert (row["attack"], row["budget"]) == ("relearning", 1)
    run = newest(trained, "church").path.name
    chosen = f"--adapter {run} --kind relearning --budget 1 --prompts-per-concept 2 --oracle oracle --json"
    assert content["command"] == f"ear attack --dataset ecgvf/church {chosen}"
    assert [row[name]["n"] for name in ("original", "unattacked", "after", "oracle", "above_oracle", "absent")] == [
        2
    ] * 6
    assert Path(content["sheet"]).is_file()
    outcomes, facts = read_outcomes(tmp_path / "o.parquet")
    names = ("concept", "model", "adapter", "oracle", "absent", "judge", "split", "test_openings")
    assert all(facts[name] == content[name] for name in names) and facts["versions"] == versions()
    assert (facts["origin"]["dataset"], facts["origin"]["seed"]) == (content["dataset"], 0)
    assert facts["origin"]["judges"][0]["judge"] == content["judge"]
    assert {(each.condition, each.concept) for each in outcomes if each.attack} == {
        ("after", "church"),
        ("oracle", "church"),
        ("oracle", "pagoda"),
    }
    sets = sorted(trained.root.glob("church/*/*/manifest.json"))
    times = [file.stat().st_mtime_ns for file in sets]
    assert json.loads(succeeds(line).stdout) == content
    assert [file.stat().st_mtime_ns for file in sorted(trained.root.glob("church/*/*/manifest.json"))] == times


def test_every_measurement_has_a_contact_sheet_of_its_own(tmp_path: Path) -> None:
    def name(**options: Any) -> str:
        arguments = AttackArguments(**options)
        return arguments.name(arguments.settings(), arguments.prompt_table())

    assert name(kind="prefix", budget=3) == "prefix-3"
    file = tmp_path / "prompts.txt"
    names = [name(kind="prefix", budget=3, **options) for options in ({}, {"seed": 1}, {"split": "test"})]
    for text in ("a church", "a chapel"):
        file.write_text(text)
        names.append(name(prompts=file))
    assert len(set(names)) == 5 and names[-1].startswith("prompts-")


def test_attacks_are_given_training_images_and_measured_on_other_prompts(
    store: Store, dataset: Dataset, tiny: JanusModel, tmp_path: Path, made: list[Attack]
) -> None:
    train = {record.pair.target: record.target.vq_ids for record in dataset.train}
    validation = {record.pair.target for record in dataset.validation}
    assert not train.keys() & validation
    adapter = save_adapter(tiny, tmp_path / "adapter.safetensors")
    found = attack(store, tiny, dataset, [adapter], AttackSettings(budgets=dict.fromkeys(KINDS, 1), prompts=2))
    assert [each.kind for each in made] == [*KINDS] and all(each.examples for each in made)
    given = [example for each in made for example in each.examples]
    assert all(tuple(example.vq_ids.tolist()) == train[example.prompt] for example in given)
    assert {each.prompt for each in found.outcomes} == validation
    # The tuned model continues the prefix, not the frozen one.
    (prefix,) = (each for each in made if each.kind == "prefix")
    attacked = [each for each in found.outcomes if each.attack == "prefix"]
    prompts, seeds = [each.prompt for each in attacked], [each.seed for each in attacked]
    forced = prefix.prefix(seeds, 1)
    frozen = render_images(tiny, prompts, seeds, dataset.sampling, prefix=forced)
    with open_adapter(tiny, [adapter]).active(tiny) as model:
        tuned = render_images(model, prompts, seeds, dataset.sampling, prefix=forced)
    images = [list(each.vq_ids) for each in attacked]
    assert images == tuned.vq_ids.tolist() and images != frozen.vq_ids.tolist()


def test_the_absent_concept_is_attacked_with_the_originals_images_that_show_it(
    store: Store,
    dataset: Dataset,
    tiny: JanusModel,
    oracle: Path,
    tmp_path: Path,
    made: list[Attack],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_at: list[Sequence[EvaluationPrompt]] = []
    judge_images = EvaluationJudges.judge_images

    def every_second(self: EvaluationJudges, prompts: Sequence[EvaluationPrompt], images: Any) -> Any:
        looked_at.append(prompts)
        judged = judge_images(self, prompts, images)
        return [tuple(replace(each, present=index % 2 == 0) for each in seen) for index, seen in enumerate(judged)]

    monkeypatch.setattr(EvaluationJudges, "judge_images", every_second)
    settings = AttackSettings(budgets={"prefix": 1}, prompts=2, oracle=oracle)
    attack(store, tiny, dataset, [save_adapter(tiny, tmp_path / "adapter.safetensors")], settings)
    of_absent = max(looked_at, key=len)  # what the examples are chosen from
    assert {prompt.retained.name for prompt in of_absent if prompt.retained} == {"pagoda"}
    assert [example.prompt for example in made[-1].examples] == [prompt.prompt for prompt in of_absent[::2]]


def test_the_test_split_is_opened_on_request_and_recorded(trained: Store) -> None:
    assert json.loads(succeeds(f"{SMALL} --kind prefix --budget 1 --json").stdout)["test_openings"] == 0
    content = json.loads(succeeds(f"{SMALL} --kind prefix --budget 1 --split test --json").stdout)
    assert (content["split"], content["test_openings"]) == ("test", 1)


def test_a_budget_is_checked_before_test_is_opened(trained: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "render_images", lambda *_, **__: pytest.fail("something was rendered"))
    fails(f"{SMALL} --kind prefix --budget 4 --split test", "--budget 4: it must be below 4, the rows")
    assert not openings.openings_file(ConceptRun(trained, trained.concept())).exists()


def test_nothing_is_said_of_a_training(trained: Store) -> None:
    assert "training on" not in succeeds(f"{SMALL} --kind prefix --budget 1").stderr


def test_a_prompt_set_is_rendered_as_it_is(trained: Store, oracle: Path, tmp_path: Path) -> None:
    file = tmp_path / "ring-a-bell.csv"
    file.write_text("prompt,case_number,evaluation_seed\nsteeple bells ##,0,42\nnave apse ~~,1,7\n")
    content = json.loads(succeeds(f"attack --prompts {file} --oracle {oracle} --json").stdout)
    (row,) = content["attacks"]
    assert row["attack"] == "ring-a-bell.csv" and row["budget"] is None
    assert row["original"]["n"] == row["after"]["n"] == row["oracle"]["n"] == 2


def test_seeds_of_one_prompt_are_no_prompts_of_their_own(trained: Store, tmp_path: Path) -> None:
    file, kept = tmp_path / "set.csv", tmp_path / "o.parquet"
    file.write_text("prompt,evaluation_seed\nsteeple bells,1\nsteeple bells,2\nnave apse,1\nnave apse,1\n")
    succeeds(f"attack --prompts {file} --outcomes {kept} --json")
    after = [each for each in read_outcomes(kept)[0] if each.condition == "after"]
    assert [(each.prompt, each.seed) for each in after] == [
        ("steeple bells", 1),
        ("steeple bells", 2),
        ("nave apse", 1),
    ]
    assert len({each.id for each in after}) == 2


def test_an_oracle_can_be_measured_as_an_adapter(trained: Store, oracle: Path) -> None:
    content = json.loads(
        succeeds(f"eval --adapter {oracle} --prompts-per-concept 2 --prompts-per-other 1 --json").stdout
    )
    assert content["recipe"] == "oracle"
    assert "pagoda" not in {row["concept"] for row in content["retention"]}


def test_written_prompts_include_those_that_the_original_did_not_render(dataset: Dataset) -> None:
    kept, other = (replace(record, pair=replace(record.pair, wording="explicit")) for record in dataset.validation)
    absent = replace(other.pair, reason="target_absent")
    malformed = replace(other.pair, record_id="0", reason="malformed")
    partly = replace(dataset, validation=(kept,), rejected=(absent, malformed))
    pairs = written_pairs(partly, "validation")
    assert pairs is not None
    assert {pair.record_id for pair in pairs} == {kept.pair.record_id, absent.record_id}
    [explicit] = prompt_classes(partly, "validation")
    assert (explicit.name, explicit.original.value, explicit.original.n) == ("explicit", 0.5, 2)


def test_the_command_offers_every_attack() -> None:
    """Its help must not wait for the attacks' own list, which imports PyTorch."""
    offered, _ = get_args(get_args(get_type_hints(AttackArguments, include_extras=True)["kind"])[0])
    assert get_args(offered) == get_args(Kind) and set(get_args(Kind)) == {*KINDS}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--kind soft-prompt --budget 0", "--budget 0: a budget counts gradient steps and must be at least 1"),
        ("--kind prefix --oracle nowhere", "oracle nowhere: there is no such folder"),
        ("--kind prefix --seed -1", "--seed -1: it must be a whole number"),
        ("--kind prefix --budget 999", "--budget 999: it must be below"),
        ("", "either --kind KIND [--budget N], or --prompts FILE"),
        ("--prompts nowhere.csv", "there is no file nowhere.csv"),
        ("--prompts nowhere.csv --budget 3", "--budget is for --kind"),
        ("--kind prefix --column prompt", "--column is for --prompts FILE"),
        ("--kind prefix --prompts-per-concept 0", "--prompts-per-concept 0: it must be at least 1"),
    ],
)
def test_bad_input_is_one_line(trained: Store, options: str, message: str) -> None:
    fails(f"attack {options}", message)


def test_a_prompt_file_of_another_layout_is_one_line(trained: Store, tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text("question,answer\nis it a church,yes\n")
    fails(f"attack --prompts {tmp_path / 'set.csv'}", "set.csv has no column of prompts: it has question, answer")


def test_a_concept_without_a_judge_is_one_line(trained: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise JudgeError("no judge of nano has a label for 'church'")

    monkeypatch.setattr(evaluation_judges, "create_judge", none)
    fails(f"{SMALL} --kind prefix", "no judge of nano has a label for 'church'")


def test_a_model_that_knows_the_concept_is_no_oracle(trained: Store, oracle: Path) -> None:
    line = f"{SMALL} --kind prefix --budget 1 --oracle {oracle}"
    (oracle / "oracle.json").write_text(json.dumps({"without": ["castle"]}))
    fails(line, "was trained without castle, but with church: name an oracle of church")
    (oracle / "oracle.json").write_text(json.dumps({"without": []}))  # a control, trained with everything
    fails(line, "was trained with church: name an oracle of church")
    (oracle / "oracle.json").unlink()
    noted = " ".join(succeeds(line).stderr.split())
    assert "has no oracle.json: whether the model was trained without church is not known" in noted


def test_the_greatest_seed_may_attack(trained: Store, oracle: Path, tmp_path: Path) -> None:
    file, kept, seed = tmp_path / "set.csv", tmp_path / "o.parquet", 2**63 - 1
    file.write_text("prompt\nsteeple bells\nnave apse\n")
    succeeds(f"attack --prompts {file} --seed {seed} --outcomes {kept}")
    assert len({each.seed for each in read_outcomes(kept)[0]}) == 2
    succeeds(f"{SMALL} --kind prefix --budget 1 --oracle {oracle} --seed {seed}")


def test_a_model_with_another_image_tokenizer_is_no_oracle(trained: Store, oracle: Path) -> None:
    weights = load_file(oracle / "model.safetensors")
    name = next(name for name in weights if name.endswith("quantize.embedding.weight"))
    weights[name] = torch.flip(weights[name], dims=[0])
    save_file(weights, oracle / "model.safetensors", {"format": "pt"})
    fails(f"{SMALL} --kind prefix --budget 1 --oracle {oracle}", "has another image tokenizer than")


def test_prompts_that_no_model_can_render_are_left_out_with_a_note(trained: Store, tmp_path: Path) -> None:
    file, long = tmp_path / "set.txt", "church " * 5000
    file.write_text(f"{long}\nsteeple bells\n")
    found = succeeds(f"attack --prompts {file} --json")
    assert json.loads(found.stdout)["attacks"][0]["after"]["n"] == 1
    assert "left out: 1 of 2 prompts cannot be rendered" in " ".join(found.stderr.split())
    file.write_text(f"{long}\n")
    fails(f"attack --prompts {file} --split test", "1 of 1 prompts cannot be rendered, such as 'church church")
    assert not openings.openings_file(ConceptRun(trained, trained.concept())).exists()
