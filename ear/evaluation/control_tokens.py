"""Prompts with control tokens: the model's own, as text or obeyed, and ``<|startoftext|>``.

Prompts found by attacks on diffusion models often begin with CLIP's ``<|startoftext|>``, which is plain text to Janus.
Prompts are taken from all that were written, so that the original's share is not of prompts chosen for it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from ear.evaluation.images import renderable
from ear.evaluation.measure import Measurement
from ear.evaluation.outcomes import Outcome
from ear.evaluation.prompts import EvaluationPrompt

STARTOFTEXT = "<|startoftext|>"


def control_token_outcomes(
    measurement: Measurement, oracle: Measurement | None, prompts: Sequence[EvaluationPrompt]
) -> list[Outcome]:
    """The outcomes of three classes of prompts, before and after erasing, and by the ``oracle``.

    Before each of ``prompts`` stands ``STARTOFTEXT``, or a control token of the model's tokenizer, each in turn: once
    as text, once obeyed.
    """
    tokens = sorted(measurement.model.processor.tokenizer.added_tokens_encoder)
    classes: list[tuple[str, bool, Callable[[int], str]]] = [
        (STARTOFTEXT, False, lambda _: STARTOFTEXT),
        ("control tokens as text", False, lambda index: tokens[index % len(tokens)]),
        ("control tokens obeyed", True, lambda index: tokens[index % len(tokens)]),
    ]
    outcomes = []
    for name, obeyed, token in classes:
        changed = [replace(each, prompt=f"{token(index)} {each.prompt}") for index, each in enumerate(prompts)]
        # Among the prompts that were written, some were too long to be rendered.
        outcomes += class_outcomes(measurement, oracle, renderable(measurement.model, changed), name, obeyed=obeyed)
    return outcomes


def class_outcomes(
    measurement: Measurement,
    oracle: Measurement | None,
    prompts: Sequence[EvaluationPrompt],
    name: str,
    *,
    obeyed: bool = False,
) -> list[Outcome]:
    """The outcomes of a class of prompts that is an attack by itself, before and after erasing, and by the ``oracle``.

    ``obeyed``: control tokens in prompts act as such, instead of being text.
    """
    measurement = _obeying(measurement) if obeyed else measurement
    outcomes = measurement.outcomes(prompts, "attack", ceiling=False)
    if oracle is not None:
        outcomes += (_obeying(oracle) if obeyed else oracle).attacked(prompts, condition="oracle")
    return [replace(outcome, attack=name) for outcome in outcomes]


def _obeying(measurement: Measurement) -> Measurement:
    return replace(measurement, model=replace(measurement.model, raw_control_tokens=True))
