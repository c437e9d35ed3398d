"""A soft prompt follows the words of every prompt, and nothing of it stays."""

import torch

from ecgvf.janus import JanusModel, generation_ids, hidden_states, logits, soft_prompt, unconditional_ids


def test_vectors_of_tokens_are_these_tokens(tiny_janus: JanusModel) -> None:
    """The embeddings of a word's tokens, as vectors, give the logits of the word itself."""
    words = tiny_janus.processor.tokenizer(" church tower", add_special_tokens=False)["input_ids"]
    vectors = tiny_janus.language_model.embed_tokens.weight[words].detach()
    image = torch.zeros(1, 3, dtype=torch.int64)
    with torch.no_grad():
        with soft_prompt(tiny_janus, vectors) as attacked:
            ids, _ = generation_ids(attacked, ["a red"])
            by_vectors = logits(tiny_janus, hidden_states(attacked, ["a red"], image))
        by_words = logits(tiny_janus, hidden_states(tiny_janus, ["a red church tower"], image))
    assert ids.shape == generation_ids(tiny_janus, ["a red church tower"])[0].shape
    assert torch.allclose(by_vectors, by_words, atol=1e-4)


def test_gradients_reach_the_vectors_alone(tiny_janus: JanusModel) -> None:
    vectors = torch.zeros(2, tiny_janus.language_model.config.hidden_size, requires_grad=True)
    with soft_prompt(tiny_janus, vectors) as attacked:
        hidden_states(attacked, ["a church"], torch.zeros(1, 2, dtype=torch.int64)).sum().backward()
    assert vectors.grad is not None and vectors.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in tiny_janus.model.parameters())


def test_the_unconditional_row_has_no_vectors(tiny_janus: JanusModel) -> None:
    with soft_prompt(tiny_janus, torch.zeros(2, tiny_janus.language_model.config.hidden_size)) as attacked:
        ids, _ = generation_ids(attacked, ["a church"])
        unconditional = unconditional_ids(attacked, ids)
    vocabulary = tiny_janus.language_model.embed_tokens.num_embeddings
    assert (ids >= vocabulary).sum() == 2 and not (unconditional >= vocabulary).any()


def test_the_model_is_as_it_was_afterwards(tiny_janus: JanusModel) -> None:
    before = tiny_janus.language_model.embed_tokens
    with soft_prompt(tiny_janus, torch.zeros(1, tiny_janus.language_model.config.hidden_size)):
        assert tiny_janus.language_model.embed_tokens is not before
    assert tiny_janus.language_model.embed_tokens is before and tiny_janus.suffix_ids == ()
