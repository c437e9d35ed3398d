"""``versions`` and ``diff``: what a published dataset was, and what changed."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecgvf.commands.options import JsonOption
from ecgvf.core import console
from ecgvf.core.errors import SettingsError

if TYPE_CHECKING:
    from ecgvf.publish.dataset_folder import DatasetFolder
    from ecgvf.publish.versions import ConceptDiff, TaggedVersion

app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False)

MAX_SHOWN = 10
"""Most records of each kind that ``diff`` prints."""


@app.command()
def versions(repo: Annotated[str, typer.Argument(help="OWNER/NAME.")], as_json: JsonOption = False) -> None:
    """List the versions of a published dataset: dates, fingerprints, counts."""
    from ecgvf.publish.versions import list_versions

    console.json_mode(as_json)
    found = list_versions(repo)
    if as_json:
        console.print_json({"repo": repo, "versions": [_version_facts(version) for version in found]})
    elif found:
        _print_versions(repo, found)
    else:
        console.print(f"{console.escape(repo)} has no version yet: `ecgvf push-to-hub` makes the first.")


@app.command()
def diff(
    before: Annotated[str, typer.Argument(help="OWNER/NAME@v1.0.0, OWNER/NAME/CONCEPT@v1.0.0, or an exported folder.")],
    after: Annotated[str, typer.Argument(help="The same, at another version.")],
    as_json: JsonOption = False,
) -> None:
    """Show the changes between two versions: pairs added, removed, judged anew; settings."""
    from ecgvf.publish.versions import diff as diff_datasets

    console.json_mode(as_json)
    (old, old_concept), (new, new_concept) = _open(before), _open(after)
    if old_concept is not None and new_concept is not None and old_concept != new_concept:
        raise SettingsError(f"{before} and {after} are of two concepts: name one concept, or none")
    changes = diff_datasets(old, new, new_concept or old_concept)
    if as_json:
        console.print_json({"before": before, "after": after, "concepts": [asdict(concept) for concept in changes]})
        return
    for concept in changes:
        _print_diff(concept)


def _open(name: str) -> "tuple[DatasetFolder, str | None]":
    """The dataset called ``name``, and the concept in its name."""
    from ecgvf.core.hub import HubName
    from ecgvf.publish.dataset_folder import DatasetFolder
    from ecgvf.publish.repository import download

    if Path(name).is_dir():
        return DatasetFolder(Path(name), name), None
    hub_name = HubName.parse(name)
    return download(hub_name), hub_name.concept


def _version_facts(version: "TaggedVersion") -> dict[str, Any]:
    entry = version.entry
    return {
        "version": version.version,
        "commit": version.commit,
        "date": entry.date if entry is not None else None,
        "concepts": entry.model_dump(mode="json")["concepts"] if entry is not None else {},
    }


def _print_versions(repo: str, found: "Sequence[TaggedVersion]") -> None:
    columns = ("version", "date", "concept", "train", "test", "rejected", "fingerprint")
    table = console.table(*columns, title=console.escape(repo))
    for version in found:
        if version.entry is None:
            table.add_row(f"v{version.version}", "", f"a tag made by hand, on commit {version.commit[:12]}")
            continue
        number, date = f"v{version.version}", version.entry.date
        for name, concept in version.entry.concepts.items():
            counts = [str(concept.counts.get(split, "")) for split in ("train", "test", "rejected")]
            table.add_row(number, date, name, *counts, concept.fingerprint)
            number = date = ""
    console.print(table)


def _print_diff(concept: "ConceptDiff") -> None:
    if concept.equal:
        console.print(f"[bold]{concept.concept}[/bold]: no changes.")
        return
    console.print(
        f"[bold]{concept.concept}[/bold]: {len(concept.added)} added, {len(concept.removed)} removed, "
        f"{len(concept.rejudged)} judged anew, {len(concept.settings)} settings changed"
    )
    _print_records("+", [f"{_prompts(row)}{_reason(row)}" for row in concept.added])
    _print_records("-", [f"{_prompts(row)}{_reason(row)}" for row in concept.removed])
    _print_records("~", [f"{_prompts(row)}: {_decisions(row)}" for row in concept.rejudged])
    for line in concept.settings:
        console.print(f"  {console.escape(line)}")


def _print_records(mark: str, lines: Sequence[str]) -> None:
    for line in lines[:MAX_SHOWN]:
        console.print(f"  {mark} {console.escape(line)}")
    if len(lines) > MAX_SHOWN:
        console.print(f"  {mark} … and {len(lines) - MAX_SHOWN} more (--json lists them)")


def _prompts(row: dict[str, Any]) -> str:
    return " | ".join(row[role] for role in ("target", "surrogate") if row[role])


def _reason(row: dict[str, Any]) -> str:
    return f" ({row['reason']})" if row["reason"] else ""


def _decisions(row: dict[str, Any]) -> str:
    return " → ".join(row[version]["reason"] or "accepted" for version in ("before", "after"))
