import pytest
import torch

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


@pytest.mark.parametrize("token", ["<begin_of_image>", "<｜begin▁of▁sentence｜>"])
def test_a_prompt_that_contains_a_special_token_is_refused(tiny_janus: JanusModel, token: str) -> None:
    with pytest.raises(ModelError, match="special token"):
        generation_ids(tiny_janus, [f"a church {token}"])
