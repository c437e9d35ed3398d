from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ecgvf.core.errors import ModelError
from ecgvf.janus import JanusModel, chat_prompt, generation_ids, unconditional_ids


def test_the_chat_prompt_is_that_of_janus(tiny_janus: JanusModel) -> None:
    assert chat_prompt(tiny_janus, "a church") == "<|User|>: a church\n\n<|Assistant|>:<begin_of_image>"


def test_each_row_has_one_bos_and_ends_with_begin_of_image(tiny_janus: JanusModel) -> None:
    ids, mask = generation_ids(tiny_janus, ["a church", "a house by the sea", "église ⛪"])
    tokenizer = tiny_janus.processor.tokenizer
    for row, own in zip(ids, mask.bool(), strict=True):
        assert (row == tokenizer.bos_token_id).sum() == 1
        assert row[own][0] == tokenizer.bos_token_id
        assert row[-1] == tokenizer.convert_tokens_to_ids("<begin_of_image>")
        assert (row[~own] == tokenizer.pad_token_id).all()
    assert tokenizer.decode(ids[2][mask[2].bool()][1:]) == chat_prompt(tiny_janus, "église ⛪")


def test_bos_is_added_if_the_tokenizer_adds_none(tiny_janus: JanusModel, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, _ = generation_ids(tiny_janus, ["a church"])
    tokenizer = tiny_janus.processor.tokenizer
    monkeypatch.setattr(tokenizer._tokenizer, "post_processor", None, raising=False)
    assert torch.equal(generation_ids(tiny_janus, ["a church"])[0], expected)


def test_unconditional_rows_keep_only_bos_and_begin_of_image(tiny_janus: JanusModel) -> None:
    ids, mask = generation_ids(tiny_janus, ["a church", "a house by the sea"])
    rows = unconditional_ids(tiny_janus, ids)
    pad = tiny_janus.processor.tokenizer.pad_token_id
    for row, original, own in zip(rows, ids, mask.bool(), strict=True):
        assert row[own][0] == original[own][0]
        assert row[-1] == original[-1]
        assert (row[own][1:-1] == pad).all()


CONTROL_TOKENS = ["<begin_of_image>", "<｜begin▁of▁sentence｜>", "<image_placeholder>", "<｜▁pad▁｜>"]


@pytest.mark.parametrize("prompt", [*CONTROL_TOKENS, "".join(CONTROL_TOKENS), "a <begin_of_image<begin_of_image> b"])
def test_control_tokens_inside_a_prompt_are_text(tiny_janus: JanusModel, prompt: str) -> None:
    ids = generation_ids(tiny_janus, [prompt])[0][0]
    tokenizer = tiny_janus.processor.tokenizer
    control = torch.tensor(list(tokenizer.added_tokens_encoder.values()))
    assert ids[torch.isin(ids, control)].tolist() == [ids[0], ids[-1]]  # BOS and begin-of-image of the template
    assert tokenizer.decode(ids[1:]) == chat_prompt(tiny_janus, prompt)


def test_raw_control_tokens_are_obeyed(tiny_janus: JanusModel) -> None:
    raw = replace(tiny_janus, raw_control_tokens=True)
    ids = generation_ids(raw, ["a church<begin_of_image>"])[0][0]
    assert (ids == raw.processor.tokenizer.convert_tokens_to_ids("<begin_of_image>")).sum() == 2


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip))
def test_every_prompt_is_encoded_without_loss(tiny_janus: JanusModel, prompt: str) -> None:
    ids = generation_ids(tiny_janus, [prompt])[0][0]
    decoded = tiny_janus.processor.tokenizer.decode(ids[1:], clean_up_tokenization_spaces=False)
    assert decoded == chat_prompt(tiny_janus, prompt)


@pytest.mark.parametrize(
    ("prompt", "reason"), [("", "empty"), (" \n", "empty"), ("\ud800", "Unicode"), ("church " * 2000, "has room for")]
)
def test_a_prompt_that_no_image_can_follow_is_refused(tiny_janus: JanusModel, prompt: str, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        generation_ids(tiny_janus, [prompt])
