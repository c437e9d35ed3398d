"""A content filter that stops a call with an error status instead of an answer.

The codes and messages are the providers': Azure and Moonshot say ``content_filter``, DeepSeek "Content Exists Risk"
(https://github.com/deepseek-ai/awesome-deepseek-integration/issues/13), Ark ``SensitiveContentDetected`` or
``TextRiskDetection`` (https://www.volcengine.com/docs/82379/1299023), Anthropic "content filtering policy".
"""

import json
import re
from typing import Any

_SIGNS = re.compile(
    r"content_filter|content_policy_violation|SensitiveContentDetected|TextRiskDetection|Content Exists Risk"
    r"|considered high risk|content filtering policy",
    re.IGNORECASE,
)


def why(body: dict[str, Any]) -> str:
    """What the provider's filter says in an error's body; "" where that is no filter's."""
    error = body.get("error")
    if not isinstance(error, dict):
        return ""
    said = [str(error[field]) for field in ("code", "type", "message") if error.get(field)]
    return ": ".join(said) if _SIGNS.search(" ".join(said)) else ""


def stopped(status: int, raw: str) -> bool:
    """Whether an answer with this status and body comes from a content filter."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return False
    return 400 <= status < 500 and isinstance(body, dict) and bool(why(body))
