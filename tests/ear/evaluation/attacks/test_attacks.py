"""Every attack spends its budget on training pairs, resumes, and leaves the model as it was."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from ear.evaluation.attacks.attack import Example, Kind, image_loss
from ear.evaluation.attacks.fit import FittedAttack, fit
from ear.evaluation.attacks.kinds import KINDS
from ear.evaluation.attacks.token_search import TokenSearch
from ear.method.adapter import Adapter, new_adapter
from ecgvf.core import concepts
from ecgvf.core.errors import SettingsError
from ecgvf.core.run import ConceptRun
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel, Sampling, generation_ids, hidden_states, render_images

OPTIMISED: list[Kind] = ["token-search", "soft-prompt", "relearning"]


@dataclass
class Attacker:
    """Attacks on a random adapter of the tiny model."""

    model: JanusModel
    root: Path

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(16, (4, self.model.image_tokens), generator=generator)
        self.examples = [Example(f"a church by lake {number}", row) for number, row in enumerate(ids)]
        self.adapter: Adapter = new_adapter(self.model, range(1), "attention", rank=2)

    def fit(self, kind: Kind, budget: int, folder: str = "store", **changed: Any) -> tuple[FittedAttack, Path]:
        run = ConceptRun(Store(self.root / folder), concepts.find("church"))
        settings = {"examples": self.examples, "seed": 0, "adapter_hash": "a", "concept": "church"} | changed
        fitted = fit(run, self.model, self.adapter, kind, budget, **settings)
        return fitted, run.store.folder("church", "attacks") / fitted.fingerprint


def logged_losses(folder: Path) -> list[float]:
    shards = sorted(folder.glob("*.parquet"))
    return [loss for shard in shards for loss in pq.read_table(shard)["loss"].to_pylist()]


@pytest.fixture
def attacker(tiny: JanusModel, tmp_path: Path) -> Attacker:
    return Attacker(tiny, tmp_path)


@pytest.mark.parametrize("kind", OPTIMISED)
def test_an_interrupted_attack_ends_with_the_same_bytes(attacker: Attacker, kind: Kind) -> None:
    _, whole = attacker.fit(kind, 3)
    _, interrupted = attacker.fit(kind, 3, "interrupted")
    (interrupted / "manifest.json").unlink()
    kept, *lost = sorted(interrupted.glob("*.parquet"))
    for shard in lost:
        shard.unlink()
    first = kept.stat().st_mtime_ns
    attacker.fit(kind, 3, "interrupted")
    assert kept.stat().st_mtime_ns == first and lost
    for shard in whole.glob("*.parquet"):
        assert shard.read_bytes() == (interrupted / shard.name).read_bytes()


@pytest.mark.parametrize("kind", OPTIMISED)
def test_an_attack_whose_first_steps_are_taken_again_ends_with_the_same_losses(
    attacker: Attacker, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    """Another process records other circumstances before the first shard is written."""
    _, whole = attacker.fit(kind, 3)
    attack: Any = KINDS[kind]
    step, steps = attack.step, list[int]()

    def counting(self: Any, number: int) -> float:
        steps.append(number)
        if len(steps) == 1:
            [header] = (attacker.root / "raced").rglob("settings.json")
            header.write_text(header.read_text().replace('"threads":', '"another": 1, "threads":'))
        return float(step(self, number))

    monkeypatch.setattr(attack, "step", counting)
    _, raced = attacker.fit(kind, 3, "raced")
    first = range(-(-3 // attack.shards))
    assert steps == [*first, *range(3)]
    assert logged_losses(raced) == logged_losses(whole)


def test_the_weights_of_relearning_are_written_twice_at_most(attacker: Attacker) -> None:
    """On a large model they are hundreds of megabytes."""
    _, folder = attacker.fit("relearning", 5)
    states = [state for shard in folder.glob("*.parquet") for state in pq.read_table(shard)["state"].to_pylist()]
    assert len(states) == 5 and len(list(filter(None, states))) == 2


@pytest.mark.parametrize("kind", ["soft-prompt", "relearning"])
def test_gradient_steps_make_the_examples_more_likely(attacker: Attacker, kind: Kind) -> None:
    losses = logged_losses(attacker.fit(kind, 24)[1])
    assert len(losses) == 24 and losses[-1] < losses[0]


def test_a_token_search_keeps_the_suffix_that_makes_the_examples_most_likely(attacker: Attacker) -> None:
    fitted, folder = attacker.fit("token-search", 24)
    losses = logged_losses(folder)
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0]
    prompts = [f"{example.prompt}{fitted.attack.found()}" for example in attacker.examples]
    with attacker.adapter.active(attacker.model) as tuned:
        assert image_loss(tuned, prompts, attacker.examples).item() == pytest.approx(losses[-1])


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_model_is_as_it_was_after_an_attack(attacker: Attacker, kind: Kind) -> None:
    model, ids = attacker.model, attacker.examples[0].vq_ids[None]
    before = hidden_states(model, ["a church"], ids)
    fitted, _ = attacker.fit(kind, 1)
    with attacker.adapter.active(model) as tuned, fitted.active(tuned):
        pass
    assert torch.equal(hidden_states(model, ["a church"], ids), before)


@pytest.mark.parametrize("kind", ["token-search", "soft-prompt"])
def test_a_search_for_a_prompt_adds_tokens_after_the_words(attacker: Attacker, kind: Kind) -> None:
    fitted, _ = attacker.fit(kind, 1)
    plain, _ = generation_ids(attacker.model, ["a church"])
    with fitted.active(attacker.model) as attacked:
        longer, _ = generation_ids(attacked, ["a church"])
    assert longer.shape[1] > plain.shape[1]
    assert longer[0, :3].tolist() == plain[0, :3].tolist() and longer[0, -1] == plain[0, -1]


def test_what_a_token_search_finds_can_be_typed_after_every_example(
    attacker: Attacker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with attacker.adapter.active(attacker.model) as tuned:
        search = TokenSearch(tuned, attacker.examples, 0)
        assert int(search._allowed.max()) < len(tuned.processor.tokenizer)
        for number in range(4):
            search.step(number)
        found = search._allowed[search._best]
        ids, _ = generation_ids(tuned, [example.prompt + search.found() for example in attacker.examples])
        assert all(any(torch.equal(window, found) for window in row.unfold(0, len(found), 1)) for row in ids)

        # Read so after all examples but the last: it is not taken, and the best stays.
        readable = {example.prompt for example in attacker.examples[:-1]}
        monkeypatch.setattr(
            "ear.evaluation.attacks.token_search.generation_ids",
            lambda model, texts: generation_ids(
                model, [text if any(map(text.startswith, readable)) else "a church" for text in texts]
            ),
        )
        best = search._best
        assert torch.equal(search._candidate(5), best)
        monkeypatch.setattr("ear.evaluation.attacks.token_search.FIRST_DRAWS", 5)
        with pytest.raises(SettingsError, match="reads none of 5 random suffixes"):
            TokenSearch(tuned, attacker.examples, 0)


def test_a_prefix_forces_the_rows_of_its_budget_and_no_more(attacker: Attacker) -> None:
    fitted, _ = attacker.fit("prefix", 2)
    model, seed = attacker.model, 5
    prefix = fitted.attack.prefix([seed], 2)
    images = render_images(model, ["a church"], [seed], Sampling(guidance=1.0), prefix=prefix)
    forced = 2 * int(model.image_tokens**0.5)
    example = attacker.examples[seed % 4].vq_ids.numpy()
    assert (images.vq_ids[0, :forced] == example[:forced]).all() and (images.vq_ids[0] != example).any()


def test_a_prefix_of_a_whole_image_is_refused(attacker: Attacker) -> None:
    rows = int(attacker.model.image_tokens**0.5)
    with pytest.raises(SettingsError, match=rf"--budget {rows}: it must be below {rows}, the rows"):
        attacker.fit("prefix", rows)


def test_whatever_an_attack_depends_on_makes_another_attack(attacker: Attacker) -> None:
    first, second = attacker.examples[:2]
    changes: list[dict[str, Any]] = [
        {},
        {"budget": 2},
        {"adapter_hash": "b"},
        {"concept": "castle"},
        {"seed": 1},
        {"examples": [first]},
        {"examples": [Example(second.prompt, first.vq_ids)]},
        {"examples": [Example(first.prompt, second.vq_ids)]},
    ]
    folders = {attacker.fit(**{"kind": "prefix", "budget": 1} | changed)[1] for changed in changes}
    assert len(folders) == len(changes)
