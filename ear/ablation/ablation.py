"""Train and measure every variant, one after another; a measured variant is not measured again."""

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ear.ablation.data import VariantData
from ear.ablation.factors import TrainingData, Variant, all_variants
from ear.evaluation import Evaluation, EvaluationSettings, evaluate, figures
from ear.evaluation.evaluation import evaluation_prompts
from ear.evaluation.judges import EvaluationJudges, open_judges
from ear.evaluation.outcomes import Outcome, selected
from ear.method.erase import erase, resolve
from ear.method.precision import compute_dtype, fallback_dtype
from ear.method.recipe import Recipe, ResolvedRecipe
from ear.method.recipes import RECIPES
from ear.method.rounds import count_windows, most_steps
from ear.method.runs import TrainingRun, variant_name
from ear.tables import csv_bytes, write_parquet
from ecgvf.core import console
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import DatasetError, JudgeError, RecipeError, SettingsError
from ecgvf.core.figures import Figure
from ecgvf.core.files import JSON, pretty_json, read_json, write_atomic
from ecgvf.core.shard_set import fingerprint, versions
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel

_NOT_IN_KEY = ("prompts_per_concept", "prompts_per_other", "fidelity")
"""Settings that are not a part of a variant's key as they are. Prompts are keyed by their numbers: another default must
not pass for the same figures. ``fidelity`` is not keyed: an ablation has the default figures only."""
CAPTIONS = {
    "concept_present": "shows the concept",
    "concept_present_unseen": "the same, unseen wordings",
    "shows_surrogate": "shows its surrogate",
    "retention_pooled": "other concepts shown",
    "retention_neighbours": "neighbours shown",
}
"""Figures that the plots, the printed table and `ear report` show → their captions."""
TABLE = "ablation.parquet"
NOT_MEASURED = b"not_measured"
"""Metadata of the table: the missing variants, a JSON list of strings."""
COMMAND = b"command"
"""Metadata of the table: ``Ablation.command``."""
MOST_WINDOWS = 10
"""Windows that a variant at equal steps may go over, as a multiple of the most steps of the base recipe. A window below
the threshold takes no step: if nearly all are, the steps never become equal, and the table says how many were taken."""


def base_name(base: Recipe) -> str:
    """The base recipe's name, with what differs from the recipe of that name, as in "on-policy, retention=0"."""
    named = RECIPES.get(base.name)
    if not isinstance(named, Recipe):
        return base.name
    values = {each.name: getattr(base, each.name) for each in fields(named) if each.compare}
    changed = [
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in values.items()
        if value != getattr(named, name)
    ]
    return ", ".join([base.name, *changed])


@dataclass(frozen=True)
class Ablation:
    """The variants to compare, and what each is trained and measured on."""

    store: Store
    model: JanusModel
    dataset: Dataset
    base: Recipe
    settings: EvaluationSettings
    seeds: Sequence[int]
    folder: Path
    """Where finished variants, the table and the plots are kept."""
    command: str = ""
    """The command that makes the table; empty if Python does."""

    @property
    def data(self) -> VariantData:
        """The training pairs of the variants: as many as the base recipe takes."""
        pairs = min(self.base.pairs, len(self.dataset.train))
        device, dtype = str(self.model.device), self.model.dtype_name
        return VariantData(self.dataset, self.store, pairs, device, dtype, self._filter_weights)

    def recipe(self, variant: Variant) -> Recipe:
        """The base recipe with what the variant changes."""
        options = dict(variant.options)
        changed = replace(self.base, name=variant_name(self.base.name), **options)
        if not variant.equal_steps:
            return changed
        most = MOST_WINDOWS * most_steps(self.data.pairs, resolve(self.base, [self.dataset], self.model))
        passes = math.ceil(most / self._windows(replace(changed, passes=1)))
        return replace(changed, max_steps=self.base_steps(), passes=passes)

    def check(self, factor: str, variants: Sequence[Variant]) -> None:
        """Raise ``SettingsError`` if all ``variants`` of a factor train alike."""
        levels = {variant.level: self._training(variant) for variant in variants}
        trained = [training for training in levels.values() if training is not None]
        if len(trained) > 1 and len(set(trained)) == 1:
            raise SettingsError(
                f"--over {factor}: all its levels are the same training around {base_name(self.base)}: leave it out"
            )

    def _training(self, variant: Variant) -> tuple[ResolvedRecipe, TrainingData] | None:
        """What decides a variant's training, equal steps apart; None if it is no valid recipe."""
        try:
            resolved = resolve(replace(self.base, **variant.options), [self.dataset], self.model)
        except RecipeError:
            return None
        if resolved.window == resolved.tokens:  # a single window, whether it is drawn or not
            resolved = replace(resolved, recipe=replace(resolved.recipe, windows="all"))
        return resolved, variant.data

    def _windows(self, recipe: Recipe) -> int:
        """Number of windows that a training goes over."""
        return count_windows(self.data.pairs, resolve(recipe, [self.dataset], self.model))

    def base_steps(self) -> int:
        """Number of steps of the base recipe with the first seed, which is trained if it is not yet."""
        base, dataset = replace(self.base, name=variant_name(self.base.name)), self.data.load("filtered")
        return int(self._erase(dataset, base, self.seeds[:1])[0].facts["steps"])

    def rows(self, variant: Variant) -> list[JSON]:
        """The rows of a variant, of all seeds together; it is trained and measured unless it was before."""
        file = self.file(variant)
        if not file.is_file():
            dataset = self.data.load(variant.data)
            recipe = self.recipe(variant)
            runs = self._erase(dataset, recipe, self.seeds)
            found = [evaluate(self.store, self.model, dataset, [run.adapter], self.settings) for run in runs]
            rows = list(self._rows(variant, resolve(recipe, [dataset], self.model), runs, found))
            write_atomic(file, pretty_json({"variant": asdict(variant), "versions": versions(), "rows": rows}))
        return [{**self._facts, **row} for row in read_json(file)["rows"]]

    def _erase(self, dataset: Dataset, recipe: Recipe, seeds: Sequence[int]) -> list[TrainingRun]:
        return erase(self.store, [dataset], self.model, recipe, seeds, weights=self._filter_weights)

    @property
    def _filter_weights(self) -> str | None:
        """Weights of the judge that filtered; None: its own."""
        return self.settings.weights if self.settings.judge is None else None  # else those of another judge

    @property
    def _facts(self) -> JSON:
        """Columns that are the same in all rows. The name of a variant's file is a hash of them, among others."""
        return {
            "concept": self.dataset.concept.name,
            "model": self.model.name,
            "base": base_name(self.base),
            "compute_dtype": compute_dtype(self.base, self.model),
            "split": self.settings.split,
            "judge": self._judges.concept_judge,
        }

    def file(self, variant: Variant) -> Path:
        """Where the rows of a variant are kept once it is measured."""
        measuring = {name: str(value) for name, value in asdict(self.settings).items() if name not in _NOT_IN_KEY}
        judge = self.settings.judge
        if judge is not None and not isinstance(judge, str):
            measuring["judge"] = judge.name  # not its repr, which may hold an address: "judges" has its settings
        settings: dict[str, Any] = {
            "dataset": self.dataset.fingerprint,
            "model": self.model.fingerprint,
            "dtype": self.model.dtype_name,
            "judges": self._judge_settings,
            "base": self.base.settings(),
            "variant": asdict(variant) | {"options": dict(variant.options)},
            "settings": {**measuring, "counts": [self.settings.concept_count, self.settings.retained_count]},
            "seeds": list(self.seeds),
            **fallback_dtype(self.base, self.model),
        }
        return self.folder / "variants" / f"{variant.factor}-{fingerprint(settings)}.json"

    @cached_property
    def _judges(self) -> EvaluationJudges:
        return open_judges(self.dataset, self.settings.judge, self.settings.weights, str(self.model.device))

    @cached_property
    def _judge_settings(self) -> list[JSON]:
        """What decides the judges' outcomes, their weights included."""
        return self._judges.settings(evaluation_prompts(self.dataset, self.settings))

    def _rows(
        self, variant: Variant, resolved: ResolvedRecipe, runs: Sequence[TrainingRun], found: Sequence[Evaluation]
    ) -> Iterator[JSON]:
        logs = [run.facts["log"]["stepped"] for run in runs]
        facts = {
            "factor": variant.factor,
            "level": variant.level,
            "equal": "steps" if variant.equal_steps else "pairs",
            "window": resolved.window,
            "seeds": list(self.seeds[: len(runs)]),  # a deterministic recipe takes the first
            "pairs": self.data.pairs,
            "steps": sum(map(sum, logs)) / len(logs),
            "skipped": 1 - sum(map(sum, logs)) / sum(map(len, logs)),
            "seconds": sum(float(run.facts["seconds"]) for run in runs) / len(runs),
        }
        # Seeds are levels, not sample size: the prompt stays the unit.
        pooled, *by_seed = (_figures(_outcomes(some)) for some in (found, *([each] for each in found)))
        for (name, after, original_value, ceiling), *seeds in zip(pooled, *by_seed, strict=True):
            yield {
                **facts,
                "figure": name,
                **after.json(),
                "by_seed": [of_seed.json()["value"] for _, of_seed, *_ in seeds],
                "original": original_value,
                "ceiling": ceiling,
            }


def ablate(ablation: Ablation, over: Sequence[str], minutes: float = math.inf) -> pa.Table:
    """Train and measure the variants of the factors ``over``; writes ablation.parquet and .csv after each, and in the
    end a plot per factor. An earlier table is replaced, and a note names the factors that it loses.

    After ``minutes`` no other variant is begun; the next call goes on. A variant that cannot be trained, or that
    diverges, is reported, and the others go on. Returns the table, one row per variant and figure. Raises
    ``SettingsError`` for an unknown factor, for a factor whose levels all train alike, and if ``minutes`` end before a
    first variant is begun; ``DatasetError`` if no variant could be measured.
    """
    from ear.ablation.plots import plot_factors

    check_minutes(minutes)
    wanted = all_variants(over, ablation.base)
    for factor in over:
        ablation.check(factor, [variant for variant in wanted if variant.factor == factor])
    if lost := [factor for factor in _factors_in_table(ablation.folder) if factor not in over]:
        console.note(f"the table loses {', '.join(lost)}: name in --over what it is to keep; nothing is measured again")
    measured = [number for number, variant in enumerate(wanted) if ablation.file(variant).is_file()]
    rows: dict[int, list[JSON]] = {number: ablation.rows(wanted[number]) for number in measured}
    if rows:
        console.note(f"measured before: {len(rows)} of {console.counted(len(wanted), 'variant')}")
    missing, started = [number for number in range(len(wanted)) if number not in rows], time.monotonic()
    for place, number in enumerate(missing):
        if time.monotonic() - started > 60 * minutes:
            if not (rows or place):
                raise SettingsError(f"--minutes {minutes:g} leaves no time for a first variant: allow more")
            left = console.counted(len(missing) - place, "variant")
            console.note(f"{left} left: run the same command again to resume")
            break
        variant = wanted[number]
        console.note(f"{number + 1} of {len(wanted)}: {variant}")
        try:
            rows[number] = ablation.rows(variant)
        except (DatasetError, JudgeError, RecipeError, SettingsError) as error:  # the last: it lacks memory
            console.warn(f"{variant.factor} {variant.level} is not measured: {error}")
        else:
            _write(wanted, rows, ablation)
    if not rows:
        raise DatasetError("no variant could be measured")
    table = _write(wanted, rows, ablation)
    plot_factors(table, ablation.folder)
    return table


def _factors_in_table(folder: Path) -> list[str]:
    """The factors in the table of an earlier ablation; none without one that can be read."""
    try:
        column = pq.read_table(folder / TABLE, columns=["factor"])["factor"]
    except (pa.ArrowException, OSError, KeyError):
        return []
    return list(dict.fromkeys(column.to_pylist()))


def check_minutes(minutes: float) -> None:
    """Raise ``SettingsError`` unless ``minutes`` is 0 or more."""
    if math.isnan(minutes) or minutes < 0:
        raise SettingsError(f"--minutes {minutes:g}: it must be a number of 0 or more")


def _write(wanted: Sequence[Variant], rows: Mapping[int, Sequence[JSON]], ablation: Ablation) -> pa.Table:
    """Write the table, its rows in the order of variants; returns it.

    Its metadata are for `ear report`: the variants that are not measured (``NOT_MEASURED``), and the command.
    """
    folder, missing = ablation.folder, [str(variant) for number, variant in enumerate(wanted) if number not in rows]
    table = pa.Table.from_pylist([row for number in sorted(rows) for row in rows[number]])
    table = table.replace_schema_metadata({NOT_MEASURED: json.dumps(missing), COMMAND: ablation.command})
    write_parquet(table, folder / TABLE)
    write_atomic(folder / "ablation.csv", csv_bytes(table))
    return table


def _outcomes(found: Sequence[Evaluation]) -> list[Outcome]:
    """Those before erasing, and those after it by each of the adapters, which were measured on the same prompts."""
    return [*found[0].original, *(outcome for each in found for outcome in selected(each.outcomes, "after"))]


def _figures(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, Figure, float | None, float | None]]:
    """(name, after erasing, before, ceiling) of what an ablation compares."""
    named = [(row.figure, row) for row in (*figures.replacement(outcomes), *figures.scene(outcomes))]
    named = [(name, row) for name, row in named if row.group in ("concept", figures.POOLED)]
    unseen = [each for each in outcomes if each.group == "concept" and each.wording not in (None, "explicit")]
    if unseen:
        named.append(("concept_present_unseen", figures.replacement(unseen, figures.thresholds(outcomes))[0]))
    named += [
        (f"retention_{row.group}", row) for row in figures.retention_by_group(outcomes) if row.figure == "retention"
    ]
    for name, row in named:
        yield name, row.after, row.before.json()["value"], row.ceiling.json()["value"] if row.ceiling else None
    yield "retention_ratio", figures.retention_ratio(outcomes), 1.0, None
