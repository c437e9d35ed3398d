"""One concept in one store: what every stage reads from and writes to."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecgvf.core.concepts import Concept
from ecgvf.core.console import counted
from ecgvf.core.errors import StageMissing, StoreCorrupt
from ecgvf.core.stage_set import Stage, StageSet
from ecgvf.core.store import Store


@dataclass(frozen=True)
class ConceptRun:
    """Binds ``concept`` to ``store``. The public ``ecgvf.Run`` adds the stages to it."""

    store: Store
    concept: Concept

    def folder(self, stage: Stage) -> Path:
        """``STORE/<concept>/<stage>``, not created."""
        return self.store.folder(self.concept.name, stage.name)

    def stage_set(self, stage: Stage, settings: Mapping[str, Any]) -> StageSet:
        """The set of ``settings``: an existing one to resume, or a new one (see ``StageSet.changed_settings``)."""
        return StageSet(self, stage, settings)

    def sets(self, stage: Stage) -> list[StageSet]:
        """All sets of a stage, oldest first, unfinished ones included."""
        found = [StageSet.at(self, stage, file.parent) for file in self.folder(stage).glob("*/settings.json")]
        return sorted(found, key=lambda stage_set: (stage_set.started, stage_set.fingerprint))

    def current(self, stage: Stage) -> StageSet:
        """The finished set that the next stage reads. Raises ``StageMissing`` naming the command that makes it."""
        folder = self.folder(stage)
        try:
            name = (folder / "current").read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError:
            unfinished = [stage_set for stage_set in self.sets(stage) if not stage_set.finished]
            done = counted(len(unfinished[-1].shards()), "shard") if unfinished else ""
            resumes = f" (interrupted after {done}; it resumes)" if unfinished else ""
            raise StageMissing(
                f"no {stage.name} of {self.concept.name!r} in {self.store.root}: run `{stage.command}` first{resumes}"
            ) from None
        if not re.fullmatch(r"[0-9a-f]{12}", name) or not (folder / name / "settings.json").is_file():
            raise StoreCorrupt(
                f"{folder / 'current'} names a set that does not exist; choose another with --set, or delete the file"
            )
        return StageSet.at(self, stage, folder / name)

    def open(self, stage: Stage, set_id: str | None) -> StageSet:
        """The finished set whose fingerprint starts with ``set_id`` (``--set``); None opens the current one.

        Raises ``StageMissing`` unless exactly one set fits, and if it is not finished: the next stage would take the
        part that is there for the whole.
        """
        if set_id is None:
            return self.current(stage)
        folders = sorted(each for each in self.folder(stage).glob("*") if re.fullmatch(r"[0-9a-f]{12}", each.name))
        found = [folder for folder in folders if (folder / "settings.json").is_file()]
        matches = [folder for folder in found if folder.name.startswith(set_id)]
        if len(matches) != 1:
            known = ", ".join(folder.name for folder in found) or "none"
            how_many = "more than one set" if matches else "no set"
            raise StageMissing(f"{how_many} of {self.folder(stage)} starts with {set_id!r}; there are: {known}")
        match = StageSet.at(self, stage, matches[0])  # only this set is read: builds open hundreds
        match.require_finished()
        return match
