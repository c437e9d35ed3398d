"""Recognise refusals in plain words, by models that have no other way: no JSON, and an opening that declines.

Questions and bad JSON get a repair call. A refusal must not: it would be paid for twice.
"""

import re

from ecgvf.core.text import strip_thinking

_ENGLISH = re.compile(
    r"(?:[^.!?\n]{0,20}sorry[^.!?\n]{0,60}[.!] )?"
    r"(?:(?:I|we|sorry|my apologies|apologies|unfortunately|as an? \w+)\b)[^.!?\n]{0,120}?"
    r"(?:(?:(?:can(?:no|')t|can not|won't|will not)(?: be able to)?|(?:unable|not able|not going) to|not comfortable)"
    r"(?: \w+ly)? (?:help(?:ing)?(?! but)|assist|provid|creat|generat|writ|produc|compl|fulfil|support|engag|answer"
    r"|discuss|continu|do (?:this|that|so))"
    r"|must decline|have to decline|beyond my (?:current )?scope)",
    re.IGNORECASE,
)
_CHINESE = re.compile(
    r"(?:(?:您|你)好|尊敬的用户|(?:很|非常|十分)?(?:抱歉|对不起|對不起|不好意思)|我|作为|作為|这个问题)[^。！？\n]{0,60}?"
    r"(?:(?:无法|無法|不能|不会|不會|不便|没法)[^。！？\n]{0,10}?"
    r"(?:提供|回答|协助|協助|帮|幫|满足|滿足|生成|完成|创作|創作|给|給|继续|繼續|处理|處理|讨论|討論|写|寫)|换个话题|換個話題)"
)
_AROUND = " \t\r\n*_>#\"'“”"


def is_refusal(text: str) -> bool:
    """Whether an answer without any JSON opens as a refusal, in English or Chinese."""
    answer = strip_thinking(text)
    if "[" in answer or "{" in answer:
        return False
    opening = answer.lstrip(_AROUND)[:300].replace("’", "'")
    return bool(_ENGLISH.match(opening) or _CHINESE.match(opening))
