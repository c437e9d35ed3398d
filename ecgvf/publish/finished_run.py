"""A finished run of the store: its four sets, opened together, and the facts about them that may be published."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ecgvf.core.concepts import Concept
from ecgvf.core.files import JSON
from ecgvf.core.records import Acceptance, PromptPair
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import ACCEPTANCE, IMAGES, PAIRS, STAGES, VERDICTS, StageSet
from ecgvf.filter.acceptance import Verdicts, verdicts_by_record
from ecgvf.filter.dataset import dataset_acceptance, dataset_concept
from ecgvf.publish.redaction import public_model, redact


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """The sets behind an acceptance set, and their rows without the images."""

    concept: Concept
    """``dataset_concept``."""
    pairs: StageSet
    images: StageSet
    verdicts: StageSet
    acceptance: StageSet
    records: tuple[PromptPair, ...]
    """Every record, sorted by id."""
    decisions: Mapping[str, Acceptance]
    """Record id → accepted or rejected."""
    verdicts_by_record: Verdicts

    @property
    def model(self) -> str:
        """Public name of the model that rendered the images."""
        return public_model(self.images.settings["model"])

    @property
    def has_retained(self) -> bool:
        """Whether it has a retain split."""
        return any(record.split == "retain" for record in self.records)

    def facts(self) -> JSON:
        """How the run was made and what came of it: settings, dates, counts, writers. No local path, no machine."""
        stages = {"pairs": self.pairs, "pictures": self.images, "verdicts": self.verdicts}
        sets = {**stages, "acceptance": self.acceptance}
        accepted = Counter(record.split for record in self.records if self.decisions[record.record_id].accepted)
        return {
            "concept": self.concept.model_dump(mode="json"),
            "unsafe": self.concept.unsafe,
            "model": self.model,
            "renderer": self.images.settings["renderer"],
            "judge": redact(self.verdicts.settings["judge"]),
            "judge_hash": self.verdicts.settings["judge_hash"],
            "judge_labels": self.verdicts.settings["accepted"],
            "rule": self.acceptance.settings["rule"],
            "sets": {name: stage_set.fingerprint for name, stage_set in sets.items()},
            "reviewed": "people" in self.acceptance.settings,
            "settings": {
                name: redact(_own_settings(stage_set)) | ({"model": self.model} if stage_set is self.images else {})
                for name, stage_set in sets.items()
            },
            "dates": {name: _days(stage_set.manifest) for name, stage_set in stages.items()},
            "packages": self.images.manifest["versions"],
            "counts": {
                "train": accepted["train"],
                "validation": accepted["validation"],
                "test": accepted["test"],
                **({"retain": accepted["retain"]} if self.has_retained else {}),
                "rejected": len(self.records) - accepted.total(),
            },
            "reasons": self._reasons(self.records),
            "writers": self._writer_facts(),
        }

    def _writer_facts(self) -> list[JSON]:
        """Per writer and model that answered: how many records it wrote, how many were accepted, why not the others."""
        by_writer: dict[tuple[str, str, str], list[PromptPair]] = {}
        for record in self.records:
            by_writer.setdefault((record.writer, record.model_asked, record.model_answered), []).append(record)
        return [
            {
                "writer": writer,
                "model_asked": str(redact(asked)),
                "model_answered": str(redact(answered)),
                "written": len(records),
                "accepted": sum(self.decisions[record.record_id].accepted for record in records),
                "reasons": self._reasons(records),
                "templates": _templates(records),
            }
            for (writer, asked, answered), records in sorted(by_writer.items())
        ]

    def _reasons(self, records: Sequence[PromptPair]) -> dict[str, int]:
        reasons = (self.decisions[record.record_id].reason for record in records)
        return dict(sorted(Counter(reason for reason in reasons if reason is not None).items()))


def open_finished_run(run: ConceptRun, set_id: str | None = None) -> FinishedRun:
    """The run behind the acceptance set that starts with ``set_id``, or behind the current one with new reviews.

    Raises as ``dataset_acceptance`` does.
    """
    acceptance = dataset_acceptance(run, set_id)
    pairs, verdicts = acceptance.source(PAIRS), acceptance.source(VERDICTS)
    return FinishedRun(
        concept=dataset_concept(acceptance),
        pairs=pairs,
        images=acceptance.source(IMAGES),
        verdicts=verdicts,
        acceptance=acceptance,
        records=tuple(sorted(pairs.records(PromptPair), key=lambda record: record.record_id)),
        decisions={decision.record_id: decision for decision in acceptance.records(Acceptance)},
        verdicts_by_record=verdicts_by_record(verdicts),
    )


def _templates(records: Sequence[PromptPair]) -> dict[str, str | list[str]]:
    """Template → its hash, or its hashes if it was changed between two splits."""
    hashes: dict[str, list[str]] = {}
    for name, template_hash in sorted({(record.template, record.template_hash) for record in records}):
        hashes.setdefault(name, []).append(template_hash)
    return {name: found if len(found) > 1 else found[0] for name, found in hashes.items()}


def _own_settings(stage_set: StageSet) -> dict[str, Any]:
    """A set's settings without the sets that it was made from, and without what the facts have elsewhere."""
    earlier = {stage.name for stage in STAGES[: STAGES.index(stage_set.stage)]}
    elsewhere = {"concept", *earlier, *(["rule"] if stage_set.stage == ACCEPTANCE else [])}
    return {key: value for key, value in stage_set.settings.items() if key not in elsewhere}


def _days(manifest: JSON) -> list[str]:
    """First and last day of work on a set, ISO 8601 in UTC."""
    return sorted({manifest["started"][:10], manifest["ended"][:10]})
