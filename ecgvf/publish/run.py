"""One finished run of the store: its four sets, opened together, with what may be told of them in public."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import urlsplit

from ecgvf.core.concepts import Concept, parse
from ecgvf.core.errors import DatasetError
from ecgvf.core.records import Acceptance, PromptPair, Role, Verdict, from_table
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import ACCEPTANCE, IMAGES, PAIRS, STAGES, VERDICTS, StageSet
from ecgvf.core.store import Store
from ecgvf.filter.acceptance import current_acceptance

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """The sets behind one acceptance set, and their rows without the pictures."""

    concept: Concept
    pairs: StageSet
    pictures: StageSet
    verdicts: StageSet
    acceptance: StageSet
    records: tuple[PromptPair, ...]
    """Every record, sorted by id."""
    decisions: Mapping[str, Acceptance]
    seen: Mapping[tuple[str, Role], Verdict]

    @property
    def model(self) -> str:
        """Name of the model that drew; of a local folder, its last part."""
        return str(public(self.pictures.settings["model"]))

    def facts(self) -> JSON:
        """What made the run, and what came of it: settings, dates, counts, yields per writer. No path, no machine."""
        stages = {"pairs": self.pairs, "pictures": self.pictures, "verdicts": self.verdicts}
        decided = [self.decisions[record.record_id] for record in self.records]
        return {
            "concept": self.concept.model_dump(mode="json"),
            "unsafe": self.concept.unsafe,
            "model": self.model,
            "renderer": self.pictures.settings["renderer"],
            "judge": public(self.verdicts.settings["judge"]),
            "judge_hash": self.verdicts.settings["judge_hash"],
            "judge_labels": self.verdicts.settings["accepted"],
            "rule": self.acceptance.settings["rule"],
            "sets": {name: stage.fingerprint for name, stage in {**stages, "acceptance": self.acceptance}.items()},
            "reviewed": "people" in self.acceptance.settings,
            "settings": {
                name: public(_own_settings(stage)) for name, stage in {**stages, "acceptance": self.acceptance}.items()
            },
            "dates": {name: _days(stage) for name, stage in stages.items()},
            "packages": self.pictures.manifest["versions"],
            "counts": {
                "train": sum(d.accepted and r.split == "train" for r, d in zip(self.records, decided, strict=True)),
                "test": sum(d.accepted and r.split == "test" for r, d in zip(self.records, decided, strict=True)),
                "rejected": sum(not d.accepted for d in decided),
            },
            "reasons": dict(sorted(Counter(str(d.reason) for d in decided if d.reason is not None).items())),
            "writers": self._writers(),
        }

    def _writers(self) -> list[JSON]:
        """One entry per writer and model that answered: what it wrote, what was accepted, and why not."""
        told: dict[tuple[str, str, str], JSON] = {}
        for record in self.records:
            entry = told.setdefault(
                (record.writer, record.model_asked, record.model_answered),
                {"written": 0, "accepted": 0, "reasons": Counter(), "templates": {}},
            )
            entry["written"] += 1
            entry["templates"][record.template] = record.template_hash
            decision = self.decisions[record.record_id]
            entry["accepted"] += decision.accepted
            if decision.reason is not None:
                entry["reasons"][decision.reason] += 1
        return [
            {
                "writer": writer,
                "model_asked": str(public(asked)),
                "model_answered": str(public(answered)),
                "written": entry["written"],
                "accepted": entry["accepted"],
                "reasons": dict(sorted(entry["reasons"].items())),
                "templates": dict(sorted(entry["templates"].items())),
            }
            for (writer, asked, answered), entry in sorted(told.items())
        ]


def open_run(run: ConceptRun, chosen: str | None = None) -> Run:
    """The run behind the current acceptance set of ``run``, or that of ``chosen``.

    What people decided since then (``ecgvf review``) counts in the current set.

    Raises ``StageMissing`` before ``ecgvf filter`` has run, ``DatasetError`` where no pair was accepted.
    """
    known, name, store = run.concept, run.concept.name, run.store
    acceptance = current_acceptance(run) if chosen is None else run.open(ACCEPTANCE, chosen)
    if not acceptance.summary["accepted_pairs"]:
        why = ", ".join(f"{count} {reason}" for reason, count in acceptance.summary["reasons"].items())
        raise DatasetError(
            f"nothing of {name!r} in {store.root} can be published, no pair was accepted ({why or 'there were none'}): "
            f"look at `ecgvf status`, then generate other pairs or draw with another model"
        )
    pairs = run.open(PAIRS, acceptance.settings["pairs"])
    verdicts = run.open(VERDICTS, acceptance.settings["verdicts"])
    written = _concept_of(pairs, store, name)
    # Marked unsafe since the pairs were written, it is unsafe; a mark that was taken away counts for new pairs.
    unsafe = written.unsafe or known.unsafe
    return Run(
        concept=written.model_copy(update={"unsafe": unsafe}),
        pairs=pairs,
        pictures=run.open(IMAGES, acceptance.settings["pictures"]),
        verdicts=verdicts,
        acceptance=acceptance,
        records=tuple(sorted(pairs.records(PromptPair), key=lambda record: record.record_id)),
        decisions={one.record_id: one for one in acceptance.records(Acceptance)},
        seen={(one.record_id, one.role): one for table in verdicts.tables() for one in from_table(Verdict, table)},
    )


def public(value: Any) -> Any:
    """``value`` without what tells of a machine or a key: of a path its last part, of an address its public host."""
    if isinstance(value, Mapping):
        return {key: public(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [public(one) for one in value]
    if not isinstance(value, str):
        return value
    if re.match(r"https?://", value):
        try:
            parts = urlsplit(value)
            host = parts.hostname or ""
        except ValueError:
            return _ELSEWHERE
        known = re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z]{2,}", host) and not host.endswith((".local", ".lan"))
        return f"{parts.scheme}://{host}{parts.path}" if known else _ELSEWHERE
    if re.match(r"[A-Za-z][\w+.-]*://|[\w.-]+@[\w.-]+:", value):
        return _ELSEWHERE
    if value.startswith(("/", "~", "./", "../")):
        return PurePosixPath(value).name or value
    if re.match(r"[A-Za-z]:[\\/]|\\\\", value):
        return PureWindowsPath(value).name
    return _HF_JUDGE.sub(lambda found: found[1] + _of_folder(found[2]), value)


_HF_JUDGE = re.compile(r"((?:^|\+)hf:)(.+?)(?=\+|: |$)")
"""A classifier of transformers in a judge's name, or in front of its label: its Hub id, or a folder of this machine."""


def _of_folder(source: str) -> str:
    told = str(public(source))
    return Path(source).resolve().name if told == source and Path(source).is_dir() else told


_ELSEWHERE = "a server of the writer's own"


def _concept_of(pairs: StageSet, store: Store, name: str) -> Concept:
    """The concept as it was when these pairs were written."""
    kept = pairs.settings.get("concept")
    return parse(kept, f"{pairs.path / 'settings.json'}") if isinstance(kept, dict) else store.concept(name)


def _own_settings(stage: StageSet) -> JSON:
    """A stage's settings without the names of the sets before it, and without what is told elsewhere."""
    left_out = {"concept", *(earlier.name for earlier in STAGES), *(["rule"] if stage.stage == ACCEPTANCE else [])}
    return {key: value for key, value in stage.settings.items() if key not in left_out}


def _days(stage: StageSet) -> list[str]:
    """First and last day of work on a set, ISO 8601 in UTC."""
    return sorted({stage.manifest["started"][:10], stage.manifest["ended"][:10]})
