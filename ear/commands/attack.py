"""``ear attack``."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ear.commands.inputs import adapter_files, command_on, load_model, open_dataset, results_folder
from ear.commands.options import (
    AdapterOption,
    ColumnOption,
    DatasetArguments,
    JudgeOption,
    OracleOption,
    OutcomesOption,
    SheetOption,
    SplitOption,
    WeightsOption,
)
from ecgvf.commands.grouping import grouped, to_argv
from ecgvf.commands.options import JsonOption
from ecgvf.core import console
from ecgvf.core.errors import SettingsError
from ecgvf.core.files import content_hash
from ecgvf.core.pytorch import import_pytorch

if TYPE_CHECKING:
    from ear.evaluation.robustness import AttackSettings
    from ecgvf.pairs.tables import PromptTable


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackArguments:
    """The attack, or a file of prompts that are one."""

    kind: Annotated[
        Literal["token-search", "soft-prompt", "prefix", "relearning"] | None,
        typer.Option(
            metavar="KIND",
            help="Attack: token-search (tokens added to every prompt), soft-prompt (vectors added), prefix (first rows "
            "of an image given), or relearning (fine-tuning).",
        ),
    ] = None
    budget: Annotated[
        int | None,
        typer.Option(
            help="Candidates (token-search), rows (prefix), or gradient steps (soft-prompt, relearning).",
            show_default="token-search 256, soft-prompt 100, prefix 8, relearning 16",
        ),
    ] = None
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="In place of --kind: a file of Ring-A-Bell, MMA-Diffusion, P4D, I2P, Six-CD, or any prompts.",
        ),
    ] = None
    column: ColumnOption = None
    prompts_per_concept: Annotated[int, typer.Option(help="Prompts to measure with; no attack sees them.")] = 100
    oracle: OracleOption = None
    split: SplitOption = "validation"
    seed: Annotated[int, typer.Option(help="Seed of the attack and of the images.")] = 0
    judge: JudgeOption = None
    weights: WeightsOption = None

    def settings(self) -> "AttackSettings":
        """The settings for ``attack``. Raises ``SettingsError``."""
        from ear.evaluation.attacks.kinds import KINDS
        from ear.evaluation.robustness import AttackSettings

        if (self.kind is None) == (self.prompts is None):
            raise SettingsError("name what to attack with: either --kind KIND [--budget N], or --prompts FILE")
        if self.kind is None and self.budget is not None:
            raise SettingsError("--budget is for --kind: the prompts of a file are rendered as they are")
        if self.column and self.prompts is None:
            raise SettingsError("--column is for --prompts FILE")
        budgets = {}
        if self.kind is not None:
            budgets[self.kind] = KINDS[self.kind].default_budget if self.budget is None else self.budget
        return AttackSettings(
            budgets=budgets,
            prompts=self.prompts_per_concept,
            split=self.split,
            seed=self.seed,
            judge=self.judge,
            weights=self.weights,
            oracle=self.oracle,
        )

    def name(self, settings: "AttackSettings", prompt_table: "PromptTable | None") -> str:
        """The attack's part of a file name: "prefix-8", or the stem of the file of prompts; with a hash of that file
        and of the other options that are not at their defaults, since each measurement has its own file."""
        attacked = [f"{kind}-{budget}" for kind, budget in settings.budgets.items()]
        options = to_argv(replace(self, kind=None, budget=None, prompts=None))
        if self.prompts is not None and prompt_table is not None:
            attacked, options = [self.prompts.stem], [prompt_table.sha256, *options]
        return "-".join([*attacked, *([content_hash({"options": options}, 8)] if options else [])])

    def prompt_table(self) -> "PromptTable | None":
        """The file of prompts. Raises ``DatasetError``."""
        from ecgvf.pairs.tables import read_table

        return read_table(self.prompts, self.column or ()) if self.prompts is not None else None


@grouped
def attack(
    *,
    source: DatasetArguments,
    adapter: AdapterOption = None,
    attacking: AttackArguments,
    outcomes: OutcomesOption = None,
    sheet: SheetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try to bring the concept back within a budget, and compare with a model trained without it (--oracle).

    The attack sees training pairs only. Resumable: no image is rendered twice.
    """
    import_pytorch()
    from ear.evaluation.robustness import attack as attack_adapters
    from ear.evaluation.robustness import check_settings
    from ecgvf.janus import load_without_weights
    from ecgvf.publish.redaction import public_command

    settings, prompt_table = attacking.settings(), attacking.prompt_table()
    store, dataset = open_dataset(source)
    files = adapter_files(store, dataset, adapter)
    check_settings(load_without_weights(source.model or dataset.model), dataset, settings, prompt_table)
    found = attack_adapters(store, load_model(source, dataset), dataset, files, settings, prompt_table)
    results = results_folder(store, dataset.concept.name, files)
    page = sheet if sheet is not None else results / f"attack-{attacking.name(settings, prompt_table)}.png"
    paths = {"sheet": str(found.save_contact_sheet(page))}
    if outcomes is not None:
        paths["outcomes"] = str(found.save(outcomes))
    labels = {"sheet": "Contact sheet", "outcomes": "Outcomes"}
    command = [*command_on("attack", source, dataset, adapter, files), *to_argv(attacking), "--json"]
    console.print_result(
        {
            "command": public_command(command),
            "dataset": dataset.fingerprint,
            "seed": attacking.seed,
            **found.json(),
            **paths,
        },
        found.attack_table(),
        *(f"{labels[name]}: {console.escape(path)}" for name, path in paths.items()),
    )
