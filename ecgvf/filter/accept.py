"""The accept rule: the judge sees the concept in the target image and not in the surrogate image.

For a validation or test record only the target's image counts, since what the model makes of its surrogate is measured
later. For a record of the retain split, "the concept" is the one that the record retains.
"""

from collections.abc import Mapping

from ecgvf.core.records import Acceptance, PromptPair, Reason, Role, Verdict

RULE = "concept in the target picture, not in the surrogate picture"
"""The rule in the settings of an acceptance set."""

WITHOUT_IMAGE: frozenset[Reason] = frozenset({"malformed", "duplicate", "render_failed"})
"""Reasons that a reviewer cannot overrule: there is no image to review."""


def accept_record(
    pair: PromptPair,
    verdicts: Mapping[Role, Verdict],
    *,
    objection: Reason | None = None,
    review: bool | None = None,
) -> Acceptance:
    """Accept one record, or reject it with the first reason against it.

    ``verdicts`` has the judge's verdict on each role that has an image; what is missing could not be rendered.
    ``objection`` is the reason of an optional bound, and counts if the rule accepts. ``review`` is the reviewers'
    decision (True accepts), which overrules both.
    """
    reason = _rule(pair, verdicts) or objection
    if review is not None and reason not in WITHOUT_IMAGE:
        reason = None if review else "reviewed"
    return Acceptance(record_id=pair.record_id, accepted=reason is None, reason=reason)


def _rule(pair: PromptPair, verdicts: Mapping[Role, Verdict]) -> Reason | None:
    if pair.reason is not None:
        return pair.reason
    roles = pair.judged_roles()
    if any(role not in verdicts for role in roles):
        return "render_failed"
    if any(verdicts[role].failure is not None for role in roles):
        return "judge_failed"
    if not verdicts["target"].present:
        return "target_absent"
    if "surrogate" in roles and verdicts["surrogate"].present:
        return "concept_leaked"
    return None
