"""What a writer was worth, counted."""

import pytest

from ecgvf.pairs.writer_stats import distinct, fault_of, self_similarity, together, yields


def test_distinct_n_and_self_similarity_by_hand():
    prompts = ["a church by the sea", "a church at night"]
    assert distinct(prompts, 1) == pytest.approx(5 / 6, abs=1e-4)  # articles left out: church by sea, church at night
    assert distinct(prompts, 2) == 1
    assert self_similarity(prompts) == pytest.approx(1 / 5)


def test_where_there_is_nothing_to_compare_there_is_no_figure():
    assert distinct([], 1) is distinct(["church"], 2) is self_similarity(["church"]) is None
    assert self_similarity(["a church", "church"]) == 1


def test_thousands_of_prompts_are_compared_by_a_sample():
    assert self_similarity(["a church"] * 5000) == 1


@pytest.mark.parametrize(
    ("detail", "fault"),
    [
        ("the surrogate names the concept ('chapel'): {…}", "the surrogate names the concept"),
        ("33% of the other words changed, at most 25% may: {…}", "some of the other words changed, at most some may"),
        ("like 'a church': {…}", "like another"),
        ("refused (refusal): Sorry.", "refused"),
        ("no JSON list of objects: [", "no JSON list of objects"),
        ("", "unnamed"),
    ],
)
def test_faults_are_counted_by_kind_and_not_by_their_words(detail, fault):
    assert fault_of(detail) == fault


def test_each_writer_has_its_own(pair):
    found = yields(
        [
            pair(writer="gpt", target="a church at dawn"),
            pair(writer="kimi", target="", reason="malformed", detail="refused: no"),
            pair(writer="gpt", target="a church", reason="duplicate", detail="like 'x': y"),
        ]
    )
    assert (found["gpt"].parsed, found["gpt"].kept, found["gpt"].why_not) == (2, 1, {"duplicate: like another": 1})
    assert (found["kimi"].parsed, found["kimi"].kept, found["kimi"].distinct_1) == (0, 0, None)


def test_figures_of_two_parts_are_added_up_and_no_column_is_lost():
    one = {
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
    told = {"writers": {"gpt": one}, "set_aside": {}, "spent": {"dollars": "0", "possibly": "0.5"}}
    both = together([told, told])
    assert both["writers"]["gpt"]["tokens"] == {"input": 0, "output": 0}  # an answer that tells no usage
    assert both["writers"]["gpt"]["outcomes"] == {"unreadable": 2}
    assert both["spent"]["possibly"] == both["writers"]["gpt"]["possibly"] == "1.0"
