"""Push a suite's results to the Hub, beside the dataset, as two configurations: its rows and its outcomes.

NAME-results/results.parquet, results.csv     one row per concept, method and figure
NAME-outcomes/<cell>.parquet                  what every judge saw in one image; without the image

A commit on top of what is there; datasets, their versions and what people wrote into the card stay. Local paths become
their last parts (``redaction``).
"""

import hashlib
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import HfApi

from ecgvf.core import concepts
from ecgvf.core.errors import ConceptError, DatasetError
from ecgvf.core.files import canonical_json
from ecgvf.core.hub import hub_errors
from ecgvf.core.parquet import parquet_bytes
from ecgvf.core.records import EvaluationSplit
from ecgvf.publish import catalogue
from ecgvf.publish.front_matter import GATE, GATE_FIELDS, format_card, parse_card
from ecgvf.publish.redaction import public_command, public_model, redact
from ecgvf.publish.repository import (
    Repository,
    account,
    account_to_write,
    check_name,
    check_visibility,
    commit,
    open_repository,
    sizes,
)

FILE, CSV = "results.parquet", "results.csv"
FACTS = b"ear-suite"
"""Key of the suite's facts among the metadata of ``FILE``; `ear suite` writes both."""


@dataclass(frozen=True, slots=True)
class ResultsPlan:
    """What a push of results would do."""

    repo: str
    name: str
    """Of the suite."""
    before: Repository
    public: bool
    gated: bool
    files: dict[str, Path | bytes]
    """Path in the repository → file or content."""
    deleted: tuple[str, ...]
    """Outcomes of an earlier push that this one lacks."""
    uploaded: bool
    """Whether the repository has these very results already."""

    @property
    def nothing_to_do(self) -> bool:
        """Whether neither content nor visibility changes."""
        changed = self.before.changes_visibility(public=self.public, gated=self.gated)
        return self.uploaded and not changed

    @property
    def sizes(self) -> dict[str, int]:
        """Path in the repository → bytes."""
        return sizes(self.files)


def prepare_results(
    folder: Path, repo: str | None = None, *, public: bool = False, unsafe_known: bool = False, dry_run: bool = False
) -> ResultsPlan:
    """Plan a push of the results in ``folder`` to ``repo`` (None: ``<account>/ecgvf``).

    ``dry_run`` is for a plan that is not carried out, for which a read-only token will do.

    Raises ``DatasetError`` for a folder without results, and for a repository without a dataset or with a concept where
    the results would be, ``SettingsError`` for unsafe concepts, of the suite or of the repository, that would be public
    without ``unsafe_known`` and for a public repository without ``public``, ``HubError``.
    """
    check_name(repo)
    facts = results_facts(folder / FILE)
    name, unsafe = str(facts["suite"]["name"]), _unsafe(facts["suite"]["concepts"])
    owner = account() if dry_run else account_to_write()
    repo = repo if repo is not None else f"{owner}/ecgvf"
    before = open_repository(repo)
    if before.head is None or before.card is None:
        raise DatasetError(f"{repo} has no dataset yet, beside which results stand: run `ecgvf push-to-hub` first")
    folders = (f"{name}-results", f"{name}-outcomes")
    if taken := [folder for folder in folders if folder in before.catalogue.concepts]:
        raise DatasetError(f"{repo} has a concept {taken[0]!r}, in whose folder these would be: rename the suite")
    check_visibility(repo, before, unsafe or before.unsafe, public=public, unsafe_known=unsafe_known)
    tables = {f"{name}-results/{each}": folder / each for each in (FILE, CSV)}
    cells = {each[kind] for each in facts["cells"] for kind in ("file", "original")}
    outcomes = {f"{name}-outcomes/{each}": folder / each for each in sorted(cells)}
    leaderboard = folder / "leaderboard.md"
    if absent := [str(file) for file in (*(tables | outcomes).values(), leaderboard) if not file.is_file()]:
        raise DatasetError(f"{absent[0]} is missing: restore it, or run `ear suite` again")
    known = before.catalogue.with_results(name, unsafe=bool(unsafe))
    marked = known == before.catalogue
    digest = _fingerprint([*tables.values(), *outcomes.values()])
    model = str(facts["suite"]["model"])
    files: dict[str, Path | bytes] = {
        f"{name}-results/{FILE}": _public_table(folder / FILE, facts),
        f"{name}-results/{CSV}": _public_text(folder / CSV, model).encode(),
        **_with_equal_columns(outcomes),
        **({} if marked else {catalogue.FILE: known.text().encode()}),
    }
    standings = _public_text(leaderboard, model).strip()
    card = _card(before.card, name, digest, standings, split=facts["suite"]["split"], unsafe=bool(unsafe))
    ours = [path for path in before.files if path.startswith((f"{name}-outcomes/", f"{name}-results/"))]
    return ResultsPlan(
        repo=repo,
        name=name,
        before=before,
        public=public,
        gated=bool(unsafe or before.unsafe),
        files={**files, "README.md": card.encode()},
        deleted=tuple(sorted(set(ours) - set(files))),
        uploaded=marked and _begin(name, digest) in before.card and set(files) <= set(before.files),
    )


def upload_results(plan: ResultsPlan) -> str:
    """Do what ``plan`` says. Returns the commit of the results. Raises ``HubError``."""
    api = HfApi()
    with hub_errors(plan.repo), plan.before.visibility(api, plan.repo, public=plan.public, gated=plan.gated):
        if plan.uploaded:
            return str(plan.before.head)
        message = f"results of the suite {plan.name}"
        return commit(plan.repo, plan.files, plan.deleted, message, parent=plan.before.head)


def results_facts(file: Path) -> dict[str, Any]:
    """The facts in a suite's table. Raises ``DatasetError`` for another file."""
    if not file.is_file():
        raise DatasetError(f"{file.parent} has no {FILE}: `ear suite` writes it, name the folder of its results")
    try:
        facts = dict(json.loads((pq.read_schema(file).metadata or {})[FACTS]))
        named = facts["suite"]["split"] in get_args(EvaluationSplit)
        named = named and isinstance(facts["suite"]["model"], str) and isinstance(facts["command"], str)
        if (
            named
            and re.fullmatch(r"[a-z0-9][a-z0-9-]*", facts["suite"]["name"])
            and all(
                re.fullmatch(r"[\w.-]+\.parquet", each[kind])
                for each in facts["cells"]
                for kind in ("file", "original")
            )
        ):
            return facts
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{file} is not what `ear suite` wrote: run it again") from error
    raise DatasetError(f"{file} is not what `ear suite` wrote: run it again")


def _public_table(file: Path, facts: dict[str, Any]) -> bytes:
    """The rows and ``facts`` without local paths."""
    model = public_model(facts["suite"]["model"])
    public = {**redact(facts), "command": public_command(shlex.split(facts["command"]))}
    public["suite"]["model"] = model
    try:
        table = pq.read_table(file)
        index = table.schema.get_field_index("model")
        table = table.set_column(index, table.schema.field(index), pa.array([model] * len(table), pa.string()))
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"{file} is not what `ear suite` wrote: run it again") from error
    return parquet_bytes(table.replace_schema_metadata({FACTS: canonical_json(public)}))


def _public_text(file: Path, model: str) -> str:
    """The text with the public name of ``model``."""
    return file.read_text(encoding="utf-8").replace(model, public_model(model))


def _unsafe(names: list[str]) -> list[str]:
    """The concepts that are marked unsafe, or whose file is gone."""
    unsafe = []
    for name in names:
        try:
            if concepts.find(name).unsafe:
                unsafe.append(name)
        except ConceptError:
            unsafe.append(name)
    return unsafe


def _fingerprint(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _with_equal_columns(files: Mapping[str, Path]) -> dict[str, Path | bytes]:
    """``files``, where a file that lacks columns of the others is replaced by its content with nulls in these columns.

    `datasets` reads the files of a configuration only if their columns are equal.
    """
    schemas: dict[str, pa.Schema] = {}
    every = pa.schema([])
    for path, file in files.items():
        try:
            # The whole table is read, because a schema alone does not show damage, and kept for none: they are large.
            schemas[path] = pq.read_table(file, partitioning=None).schema
            every = pa.unify_schemas([every, schemas[path].remove_metadata()])
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(
                f"{file} is damaged, or does not fit the other outcomes: restore it, or run `ear suite` again"
            ) from error
    found: dict[str, Path | bytes] = dict(files)
    for path, schema in schemas.items():
        if missing := [column for column in every if column.name not in schema.names]:
            table = pq.read_table(files[path], partitioning=None)
            for column in missing:
                table = table.append_column(column, pa.nulls(len(table), column.type))
            found[path] = parquet_bytes(table)
    return found


def _card(before: str, name: str, digest: str, standings: str, *, split: str, unsafe: bool) -> str:
    """The card with the suite's configurations and its leaderboard, ``standings``, which replaces an earlier one.

    ``split``: that the suite measured; the rows are in a split of this name.
    """
    fields, text = parse_card(before)
    names = {f"{name}-results": f"{name}-results/*.parquet", f"{name}-outcomes": f"{name}-outcomes/*.parquet"}
    configs = [config for config in fields.get("configs") or [] if config["config_name"] not in names]
    configs += [
        {"config_name": config, "data_files": [{"split": split, "path": path}]} for config, path in names.items()
    ]
    fields["configs"] = configs
    if unsafe:
        fields.setdefault("extra_gated_prompt", GATE)
        fields.setdefault("extra_gated_fields", GATE_FIELDS)
    where = f"All figures: configuration `{name}-results`; what the judges saw in each image: `{name}-outcomes`."
    body = f"{_begin(name, digest)}\n## Results of the suite {name}\n\n{standings}\n\n{where}\n{_end(name)}"
    earlier = re.compile(rf"<!-- ecgvf-results:{name}:begin .*?{re.escape(_end(name))}", re.DOTALL)
    text = earlier.sub(lambda _: body, text) if earlier.search(text) else f"{text.rstrip()}\n\n{body}\n"
    return format_card(fields, text if text.startswith("\n") else f"\n{text}")


def _begin(name: str, digest: str) -> str:
    return f"<!-- ecgvf-results:{name}:begin {digest} -->"


def _end(name: str) -> str:
    return f"<!-- ecgvf-results:{name}:end -->"
