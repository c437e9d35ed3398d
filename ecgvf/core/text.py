"""Text that an LLM, a provider or somebody's file sends."""


def encodable(text: str) -> str:
    """``text`` with "?" for half surrogates, which JSON can express and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")


def strip_thinking(text: str) -> str:
    """``text`` without its ``<think>…</think>`` blocks; a block that never ends stays."""
    kept, start = [], 0
    while (begin := text.find("<think>", start)) >= 0 and (end := text.find("</think>", begin)) >= 0:
        kept.append(text[start:begin])
        start = end + len("</think>")
    return "".join([*kept, text[start:]])
