"""``versions`` and ``diff``: what a published dataset was, and what changed."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecgvf.commands.options import JsonOption
from ecgvf.core import console
from ecgvf.core.errors import DatasetError, SettingsError

if TYPE_CHECKING:
    from rich.table import Table

    from ecgvf.publish.catalogue import CountedSplit
    from ecgvf.publish.dataset_folder import DatasetFolder
    from ecgvf.publish.versions import ConceptDiff, TaggedVersion

MAX_SHOWN = 10
"""Most records of each kind that ``diff`` prints."""


def versions(
    repo: Annotated[str, typer.Argument(metavar="REPO", help="OWNER/NAME.")], as_json: JsonOption = False
) -> None:
    """List the versions of a published dataset: dates, fingerprints, counts."""
    from ecgvf.publish.versions import list_versions

    found = list_versions(repo)
    facts = {"repo": repo, "versions": [_version_facts(version) for version in found]}
    none = f"{console.escape(repo)} has no version yet: `ecgvf push-to-hub` makes the first."
    console.print_result(facts, _versions_table(repo, found) if found else none)


def diff(
    before: Annotated[
        str,
        typer.Argument(metavar="BEFORE", help="OWNER/NAME@v1.0.0, OWNER/NAME/CONCEPT@v1.0.0, or an exported folder."),
    ],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="The same, at another version.")],
    as_json: JsonOption = False,
) -> None:
    """Show the changes between two versions: pairs added, removed, judged anew or moved; settings."""
    from ecgvf.publish.versions import diff as diff_datasets

    (old, old_concept), (new, new_concept) = _open(before), _open(after)
    if old_concept is not None and new_concept is not None and old_concept != new_concept:
        raise SettingsError(f"{before} and {after} are of two concepts: name one concept, or none")
    changes = diff_datasets(old, new, new_concept or old_concept)
    facts = {"before": before, "after": after, "concepts": [asdict(concept) for concept in changes]}
    console.print_result(facts, *chain.from_iterable(map(_diff_lines, changes)))


def _open(name: str) -> "tuple[DatasetFolder, str | None]":
    """The dataset called ``name``, and the concept in its name."""
    from ecgvf.core.files import is_folder
    from ecgvf.core.hub import HubName
    from ecgvf.publish.dataset_folder import DatasetFolder
    from ecgvf.publish.repository import download

    if is_folder(Path(name)):
        return DatasetFolder(Path(name), name), None
    try:
        hub_name = HubName.parse(name)
    except DatasetError as error:
        raise DatasetError(f"there is no folder {name}, and {error}") from error
    return download(hub_name), hub_name.concept


def _version_facts(version: "TaggedVersion") -> dict[str, Any]:
    entry = version.entry
    return {
        "version": version.version,
        "commit": version.commit,
        "date": entry.date if entry is not None else None,
        "concepts": entry.model_dump(mode="json")["concepts"] if entry is not None else {},
    }


def _versions_table(repo: str, found: "Sequence[TaggedVersion]") -> "Table":
    splits: list[CountedSplit] = ["train", "validation", "test", "rejected"]
    entries = [version.entry for version in found if version.entry is not None]
    if any("retain" in concept.counts for entry in entries for concept in entry.concepts.values()):
        splits.insert(3, "retain")
    columns = ("version", "date", "concept", *splits, "fingerprint")
    table = console.table(*columns, title=console.escape(repo))
    for version in found:
        if version.entry is None:
            table.add_row(f"v{version.version}", "", f"a tag made by hand, on commit {version.commit[:12]}")
            continue
        number, date = f"v{version.version}", version.entry.date
        for name, concept in version.entry.concepts.items():
            counts = [str(concept.counts.get(split, "")) for split in splits]
            table.add_row(number, date, name, *counts, concept.fingerprint)
            number = date = ""
    return table


def _diff_lines(concept: "ConceptDiff") -> Iterator[str]:
    if concept.equal:
        yield f"[bold]{concept.concept}[/bold]: no changes."
        return
    yield (
        f"[bold]{concept.concept}[/bold]: {len(concept.added)} added, {len(concept.removed)} removed, "
        f"{len(concept.rejudged)} judged anew or moved, {console.counted(len(concept.settings), 'setting')} changed"
    )
    shown = {
        "+": [_prompts(row) for row in concept.added],
        "-": [_prompts(row) for row in concept.removed],
        "~": [f"{_prompts(row)}: {_change(row['before'], row['after'])}" for row in concept.rejudged],
    }
    for mark, records in shown.items():
        yield from (f"  {mark} {console.escape(record)}" for record in records[:MAX_SHOWN])
        if len(records) > MAX_SHOWN:
            yield f"  {mark} … and {len(records) - MAX_SHOWN} more (--json lists them)"
    yield from (f"  {console.escape(line)}" for line in concept.settings)


def _prompts(row: dict[str, Any]) -> str:
    """The prompts of a record, and the reason if it is a rejected one."""
    prompts = " | ".join(row[role] for role in ("target", "surrogate") if row[role])
    return f"{prompts} ({row['reason']})" if row.get("reason") else prompts


def _change(before: dict[str, Any], after: dict[str, Any]) -> str:
    moved = f"{before['split']} → {after['split']}, " if before["split"] != after["split"] else ""
    return f"{moved}{before['reason'] or 'accepted'} → {after['reason'] or 'accepted'}"
