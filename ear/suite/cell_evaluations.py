"""Cells of a suite as evaluations, read from the suite's results, without a store."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ear.evaluation import Evaluation
from ear.evaluation.attack_figures import PromptClass
from ear.evaluation.not_measured import NotMeasured
from ear.evaluation.outcomes import AnsweredQuestion, Outcome, read_facts, read_outcomes, selected
from ear.suite.rows import pooled
from ear.suite.table import read_datasets
from ecgvf.core import concepts, console
from ecgvf.core.errors import DatasetError
from ecgvf.core.files import JSON
from ecgvf.publish.push_results import FILE, results_facts


def is_cell(file: Path) -> bool:
    """Whether ``file`` holds a cell's outcomes."""
    return file.is_file() and "original" in read_facts(file)


def read_cells(files: Sequence[Path]) -> list[Evaluation]:
    """The evaluations of cells of one suite, of the prompts that all have, without images, adapters and families.

    A cell does not name the dataset, model and judges that measured it. The suite's table lists the cells that were
    measured as the suite declares, so those that it lists have them in common.

    Raises ``DatasetError`` for cells of several folders, and for a cell that the folder's table does not list.
    """
    folder = files[0].parent
    if others := [file for file in files if file.parent.resolve() != folder.resolve()]:
        raise DatasetError(
            f"{others[0]} is not in the folder of {files[0]}: cells do not say by which model and judges they were "
            "measured, so compare cells of one suite"
        )
    table = results_facts(folder / FILE)
    listed = {cell["file"]: cell for cell in table["cells"]}
    if strangers := [file for file in files if file.name not in listed]:
        raise DatasetError(f"{strangers[0]} is not a cell of {folder / FILE}: run `ear suite` again")
    return _of_shared_prompts([_evaluation(file, listed[file.name], table) for file in files])


def _of_shared_prompts(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """The evaluations without the retained concepts' prompts that not all have.

    A suite measures as many prompts of each group, and the groups depend on the recipe.
    """
    shared = set.intersection(*({each.task for each in selected(of.outcomes, "after")} for of in evaluations))

    def kept(outcome: Outcome) -> bool:
        return outcome.group == "concept" or outcome.sample == "threshold" or outcome.task in shared

    left = {each.task for of in evaluations for each in of.outcomes if not kept(each)}
    if left and len({of.concept for of in evaluations}) == 1:  # others are refused
        prompts = console.counted(len(left), "prompt")
        console.note(f"{prompts} of retained concepts left out: not all of these cells have them")
    return [replace(of, outcomes=tuple(filter(kept, of.outcomes))) for of in evaluations]


def _evaluation(file: Path, cell: JSON, table: JSON) -> Evaluation:
    original = file.with_name(cell["original"])
    if not original.is_file():
        raise DatasetError(f"{file} needs {original}, the outcomes before erasing: restore it")
    (outcomes, facts), (before, _) = read_outcomes(file), read_outcomes(original)
    after = [outcome for outcome in outcomes if outcome.sample != "attack"]
    openings = table["test_openings"][cell["concept"]]
    mark = read_datasets(file.parent).get(cell["concept"], {}).get("unsafe")
    return Evaluation(
        concept=cell["concept"],
        unsafe=concepts.may_be_unsafe(cell["concept"], mark),
        model=table["suite"]["model"],
        adapters=(),
        recipe=cell["recipe"],
        judge=after[0].judges[0].judge,
        split=table["suite"]["split"],
        test_openings=openings["count"] if openings is not None else 0,
        all_openings=openings is not None and not openings["at_least"],
        families=dict.fromkeys(outcome.concept for outcome in after if outcome.group != "concept"),
        origin={"dataset": None, "model": None, "dtype": facts.get("dtype"), "judges": []},
        outcomes=tuple(pooled([(before, after)])),
        answered=tuple(AnsweredQuestion(**answer) for answer in facts["answered"]),
        not_measured=tuple(map(NotMeasured.from_text, facts.get("not_measured", ()))),
        attacked=tuple(outcome for outcome in outcomes if outcome.sample == "attack"),
        classes=tuple(PromptClass.from_json(each) for each in facts.get("classes", ())),
    )
