"""Any text is encoded, and the chat template gives the prompt of an image."""

from transformers import PreTrainedTokenizerFast

from tools.nano.tokenizer import image_prompt, processor
from tools.tokenizer import IMAGE_TOKENS


def test_the_tokenizer_encodes_any_text_with_one_bos(tokenizer: PreTrainedTokenizerFast) -> None:
    text = "Eine Kirche ⛪ 教会 <script>\n"
    ids = tokenizer(image_prompt(text))["input_ids"]
    assert ids.count(tokenizer.bos_token_id) == 1 and ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.convert_tokens_to_ids(IMAGE_TOKENS["boi_token"])
    assert text.strip() in tokenizer.decode(ids)


def test_the_chat_template_gives_the_image_prompt(tokenizer: PreTrainedTokenizerFast) -> None:
    chat = [{"role": "user", "content": [{"type": "text", "text": "a church "}]}]
    rendered = processor(tokenizer).apply_chat_template(chat, add_generation_prompt=True)
    assert rendered + IMAGE_TOKENS["boi_token"] == image_prompt("a church")
