"""Outcomes that need no model: what the judges saw in an image, as a test says."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ear.evaluation.outcomes import AttributeOutcome, JudgeOutcome, Outcome
from ear.evaluation.result import Evaluation
from ear.retained_concepts import Group
from ecgvf.core.png import encode

FIRST, SECOND = "nano-object-b", "nano-object-c"


def saw(label: str, confidence: float = 0.9, *, judge: str = FIRST, concept: str = "church") -> JudgeOutcome:
    """A judge's most probable label; its probability of ``concept`` is what that label leaves over."""
    score = confidence if label == concept else 1 - confidence
    return JudgeOutcome(judge, label == concept, score, ((label, confidence),))


def both(label: str, confidence: float = 0.9, concept: str = "church") -> tuple[JudgeOutcome, ...]:
    """Two judges that agree."""
    return tuple(saw(label, confidence, judge=judge, concept=concept) for judge in (FIRST, SECOND))


def sky(asked: str | None, seen: str) -> AttributeOutcome:
    """The sky that a judge saw."""
    return AttributeOutcome("sky", asked, seen, 0.9)


def outcome(number: int = 0, condition: str = "before", label: str = "church", **changed: Any) -> Outcome:
    """Image ``number`` of church, in which both judges see ``label``; its surrogate is a hotel."""
    row = Outcome(
        id=f"record-{number}",
        sample="main",
        condition=condition,  # type: ignore[arg-type]
        concept="church",
        group="concept",
        prompt=f"a church by lake {number}" if condition != "ceiling" else f"a hotel by lake {number}",
        wording="explicit",
        term="church",
        surrogate="hotel",
        surrogate_label="hotel",
        surrogate_prompt=f"a hotel by lake {number}",
        seed=2**62 + number,
        guidance=1.25,
        temperature=0.5,
        adapter="a" * 16 if condition == "after" else None,
        judges=both(label),
        attributes=(),
        clip_surrogate=None,
        clip_target=None,
        nll_frozen=2.0,
        token_agreement=None,
        vq_ids=(1, 2, 3, 4),
        image=encode(np.full((16, 16, 3), (number * 7) % 256, np.uint8)),
    )
    return replace(row, **changed)


def retained(concept: str, group: Group, number: int = 0, condition: str = "before", **changed: Any) -> Outcome:
    """Image ``number`` of a retained concept, in which both judges see it."""
    facts: dict[str, Any] = {
        "id": f"{concept}/{number}",
        "concept": concept,
        "group": group,
        "prompt": f"a {concept} by lake {number}",
        "wording": None,
        "term": concept,
        "surrogate": None,
        "surrogate_prompt": None,
        "judges": both(concept, concept=concept),
        "token_agreement": 0.75 if condition == "after" else None,
    }
    return outcome(number, condition, **facts | changed)


def erased(count: int = 4, left: int = 0) -> list[Outcome]:
    """``count`` prompts of church before, after and as ceiling: ``left`` of them still show it, the others a hotel."""
    return [
        outcome(number, condition, label)
        for number in range(count)
        for condition, label in (
            ("before", "church"),
            ("after", "church" if number < left else "hotel"),
            ("ceiling", "hotel"),
        )
    ]


def kept(concept: str, group: Group, count: int = 4, lost: int = 0) -> list[Outcome]:
    """``count`` prompts of a retained concept before and after: ``lost`` of them show a church instead."""
    changed = {"judges": both("church", concept=concept)}
    return [
        retained(concept, group, number, condition, **(changed if condition == "after" and number < lost else {}))
        for number in range(count)
        for condition in ("before", "after")
    ]


def evaluation(outcomes: Sequence[Outcome], **changed: Any) -> Evaluation:
    """Of these outcomes."""
    concepts = {each.concept: "building" for each in outcomes if each.group != "concept"}
    facts: dict[str, Any] = {
        "concept": "church",
        "unsafe": False,
        "model": "janus-nano",
        "adapters": (Path("runs/windowed-kl-0/adapter.safetensors"),),
        "recipe": "windowed-kl",
        "judge": FIRST,
        "split": "validation",
        "test_openings": 0,
        "families": concepts,
        "origin": {
            **{"dataset": "a1", "model": "b1", "dtype": "float32", "training_dtype": "float32"},
            **{"judges": [], "seed": 0},
        },
        "outcomes": tuple(outcomes),
    }
    return Evaluation(**facts | changed)
