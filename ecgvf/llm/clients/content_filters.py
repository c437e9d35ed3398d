"""Content filters that stop a call with an error status instead of an answer.

The codes and messages are the providers': Azure and Moonshot send ``content_filter``, DeepSeek "Content Exists Risk"
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


def filter_message(body: dict[str, Any]) -> str:
    """The filter's message in an error's body; "" if no filter sent the error."""
    error = body.get("error")
    if not isinstance(error, dict):
        return ""
    parts = [str(error[field]) for field in ("code", "type", "message") if error.get(field)]
    return ": ".join(parts) if _SIGNS.search(" ".join(parts)) else ""


def stopped(status: int, raw: str) -> bool:
    """Whether an answer with this status and body comes from a content filter."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return False
    return 400 <= status < 500 and isinstance(body, dict) and bool(filter_message(body))
