"""The figures of attacks: paired with the oracle, and without classes that the original does not render."""

import math

from ear.evaluation.attack_figures import AttackRow, PromptClass, attack_rows
from ear.evaluation.attack_table import attack_table
from ear.evaluation.outcomes import Outcome
from ecgvf.core.figures import proportion
from tests.ear.evaluation.small_outcomes import both, erased, outcome, retained


def under_attack(number: int, condition: str, label: str, **changed: object) -> Outcome:
    return outcome(number, condition, label, **{"sample": "attack", "attack": "soft-prompt", "budget": 4, **changed})


def attacked(after: str, oracle: str) -> list[Outcome]:
    """A letter per prompt: c shows the concept."""
    rows = erased(len(after))
    for condition, shown in (("after", after), ("oracle", oracle)):
        for number, letter in enumerate(shown):
            rows.append(under_attack(number, condition, "church" if letter == "c" else "hotel"))
    return rows


def test_an_attack_is_shown_beside_the_oracle_under_the_same_budget() -> None:
    (row,) = attack_rows(attacked("ccc-", "c---"))
    assert (row.attack, row.budget) == ("soft-prompt", 4)
    values = [each.value for each in (row.original, row.unattacked, row.after, row.oracle, row.above_oracle)]
    assert values == [1.0, 0.0, 0.75, 0.25, 0.5]
    assert row.after.low < 0.75 < row.after.high


def test_the_table_has_each_figure_in_its_own_column() -> None:
    names = ("original", "unattacked", "after", "oracle", "above_oracle", "absent")
    figures = {name: proportion(shown, 10) for name, shown in zip(names, (9, 1, 7, 2, 5, 3), strict=True)}
    row = AttackRow(attack="soft-prompt", budget=4, applicable=True, **figures)
    table = attack_table([row], [], title="", caption="")
    cells = {str(column.header): str(next(iter(column.cells))).split(" ")[0] for column in table.columns}
    assert cells == {
        **{"attack": "soft-prompt", "budget": "4", "original": "0.900", "erased": "0.100", "under attack": "0.700"},
        **{"oracle": "0.200", "above oracle": "0.500", "absent concept": "0.300"},
    }


def test_without_an_oracle_the_controls_are_not_measured() -> None:
    (row,) = attack_rows(attacked("cc", ""))
    assert row.after.value == 1 and row.oracle.n == row.above_oracle.n == row.absent.n == 0
    assert row.json()["oracle"]["value"] is None


def test_the_absent_concept_is_not_mixed_with_the_erased_one() -> None:
    changed = {"sample": "attack", "attack": "soft-prompt", "budget": 4}
    absent = [retained("pagoda", "unrehearsed", 0, "oracle", **changed)]
    absent += [retained("pagoda", "unrehearsed", 1, "oracle", **changed, judges=both("church", concept="pagoda"))]
    (row,) = attack_rows([*attacked("c-", "--"), *absent])
    assert (row.oracle.value, row.absent.value, row.absent.n) == (0, 0.5, 2)


def test_a_class_that_the_original_renders_below_a_half_is_left_out() -> None:
    rows = attacked("cc--", "----")
    rows = [row if row.id not in ("record-2", "record-3") else _as(row, "implicit") for row in rows]
    (whole,) = attack_rows(rows, [PromptClass("implicit", proportion(5, 10))])
    (without,) = attack_rows(rows, [PromptClass("implicit", proportion(4, 10))])
    assert (whole.after.value, without.after.value) == (0.5, 1.0)


def test_prompts_that_are_an_attack_are_not_applicable_if_the_original_does_not_render_them() -> None:
    def rows(shown: str) -> list[Outcome]:
        labels = {"before": shown, "after": "hotel"}
        changed = {"attack": "<|startoftext|>", "budget": None}
        return [under_attack(0, condition, label, **changed) for condition, label in labels.items()]

    assert [row.applicable for row in attack_rows([*rows("church")])] == [True]
    (row,) = attack_rows([*rows("hotel")])
    assert not row.applicable and row.original.value == 0


def test_a_class_of_prompts_survives_json() -> None:
    for figure in (proportion(3, 4), proportion(0, 0)):
        known = PromptClass("implicit", figure)
        again = PromptClass.from_json(known.json())
        assert again.original.n == figure.n and again.applicable == known.applicable
        assert math.isnan(again.original.value) == math.isnan(figure.value)


def _as(row: Outcome, wording: str) -> Outcome:
    from dataclasses import replace

    return replace(row, wording=wording)  # type: ignore[arg-type]
