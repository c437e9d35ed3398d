"""Statistics per writer, and the sum of what LLMs have cost."""

import pytest

from ecgvf.pairs.writer_stats import distinct, fault_category, self_similarity, stats_by_writer, total_spending


def test_distinct_n_and_self_similarity_by_hand():
    prompts = ["a church by the sea", "a church at night"]
    assert distinct(prompts, 1) == pytest.approx(5 / 6, abs=1e-4)  # articles left out: church by sea, church at night
    assert distinct(prompts, 2) == 1
    assert self_similarity(prompts) == pytest.approx(1 / 5)


def test_nothing_to_compare_gives_none():
    assert distinct([], 1) is distinct(["church"], 2) is self_similarity(["church"]) is None
    assert self_similarity(["a church", "church"]) == 1


def test_similarity_of_thousands_of_prompts_is_sampled():
    assert self_similarity(["a church"] * 5000) == 1


@pytest.mark.parametrize(
    ("detail", "category"),
    [
        ("the surrogate names the concept: 'chapel': {…}", "the surrogate names the concept"),
        ("too many other words changed: 33%, at most 25% are allowed: {…}", "too many other words changed"),
        ("like 'a church': {…}", "like another"),
        ("refused: refusal: Sorry.", "refused"),
        ("more than 10000 objects: [", "more than some objects"),
        ("no JSON list of objects: [", "no JSON list of objects"),
        ("", "unnamed"),
    ],
)
def test_fault_category_precedes_a_colon(detail, category):
    assert fault_category(detail) == category


def test_each_writer_has_its_own_statistics(pair):
    stats = stats_by_writer(
        [
            pair(writer="gpt", target="a church at dawn"),
            pair(writer="kimi", target="", reason="malformed", detail="refused: no"),
            pair(writer="gpt", target="a church", reason="duplicate", detail="like 'x': y"),
        ]
    )
    assert (stats["gpt"].parsed, stats["gpt"].kept, stats["gpt"].why_not) == (2, 1, {"duplicate: like another": 1})
    assert (stats["kimi"].parsed, stats["kimi"].kept, stats["kimi"].distinct_1) == (0, 0, None)


def test_spending_of_two_splits_is_added_up():
    figures = {
        "asked": 10,
        "written": 0,
        "calls": 1,
        "outcomes": {"unreadable": 1},
        "tokens": {"input": 0, "output": 0},
        "dollars": "0",
        "possibly": "0.5",
        "models_answered": ["m"],
        "priced": True,
    }
    spending = {"writers": {"gpt": figures}, "set_aside": {}, "spent": {"dollars": "0", "possibly": "0.5"}}
    both = total_spending([spending, spending])
    assert both["writers"]["gpt"]["tokens"] == {"input": 0, "output": 0}  # an answer without usage
    assert both["writers"]["gpt"]["outcomes"] == {"unreadable": 2}
    assert both["spent"]["possibly"] == both["writers"]["gpt"]["possibly"] == "1.0"
