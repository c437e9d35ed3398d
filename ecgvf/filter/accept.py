"""The rule: a pair holds when the judge sees the concept in the target picture and not in the surrogate picture.

A test record has a target only, and holds when the concept is in its picture. What people decided (``ecgvf review``)
overrules the judge; what an optional bound objects to counts where judge and people leave it open.
"""

from collections.abc import Mapping, Set

from ecgvf.core.records import Acceptance, PromptPair, Reason, Role, Verdict

RULE = "concept in the target picture, not in the surrogate picture"

UNSEEN: frozenset[Reason] = frozenset({"malformed", "duplicate", "render_failed"})
"""Reasons that nobody can overrule by looking: there is no picture."""


def accept(
    pair: PromptPair,
    drawn: Set[Role],
    verdicts: Mapping[Role, Verdict],
    *,
    objection: Reason | None = None,
    people: bool | None = None,
) -> Acceptance:
    """The decision on one record, with the first reason that speaks against it.

    ``drawn`` are the roles with a picture, ``verdicts`` what the judge said of them; what is missing has failed.
    ``objection`` is what an optional bound has against it, ``people`` what the reviewers decided.
    """
    reason = _against(pair, drawn, verdicts) or objection
    if people is not None and reason not in UNSEEN:
        reason = None if people else "reviewed"
    return Acceptance(record_id=pair.record_id, accepted=reason is None, reason=reason)


def _against(pair: PromptPair, drawn: Set[Role], verdicts: Mapping[Role, Verdict]) -> Reason | None:
    if pair.reason is not None:
        return pair.reason
    roles = [role for role, _ in pair.prompts()]
    if any(role not in drawn for role in roles):
        return "render_failed"
    if any(role not in verdicts or verdicts[role].failure is not None for role in roles):
        return "judge_failed"
    if not verdicts["target"].present:
        return "target_absent"
    if "surrogate" in roles and verdicts["surrogate"].present:
        return "concept_leaked"
    return None
