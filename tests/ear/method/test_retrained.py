"""A whole model in place of an adapter."""

from dataclasses import replace

from ear.method.retrained import RetrainedModel
from ecgvf.janus import JanusModel


def test_it_reads_prompts_as_the_frozen_model_does(tiny: JanusModel) -> None:
    retrained = RetrainedModel(tiny, {"concept": ""})
    with retrained.active(replace(tiny, raw_control_tokens=True, padding_masked=False)) as other:
        assert other.model is tiny.model and other.raw_control_tokens and not other.padding_masked
    with retrained.active(tiny) as other:
        assert other.padding_masked and not other.raw_control_tokens
