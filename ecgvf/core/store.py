"""A store on disk: one folder per concept, one per stage, one per fingerprint of the settings that made it.

    STORE/
      store.json                    format of this store
      last                          name of the concept that was generated, imported or built last
      church/                       ConceptRun (run.py)
        concept.json                the concept as it was then
        pairs/                      a stage
          current                   fingerprint of the set that the next stage reads
          1f0c…/                    a set of the stage (stage_set.py)

Every file is replaced atomically (files.py). Two processes that write the same set write the same bytes, if their batch
sizes and threads are the same.
"""

import os
import re
from pathlib import Path

from ecgvf.core.concepts import NAME, Concept, names, parse
from ecgvf.core.errors import StageMissing, StoreError, StoreVersionError
from ecgvf.core.files import open_path, pretty_json, read_json, shortened, write_atomic
from ecgvf.core.validation import did_you_mean

FORMAT = 1

_FOLDER = re.compile(rf"{NAME.pattern}(\+{NAME.pattern})*")  # several erased concepts are joined by "+"


class Store:
    """The runs under ``root`` (None: ``$ECGVF_STORE``, or ``./ecgvf-store``), a folder or ``s3://BUCKET/FOLDER``.

    Nothing is created before something is written. Raises ``StoreVersionError`` for a store in another format,
    ``StoreError`` for a folder that is not a store, or cannot be read.
    """

    def __init__(self, root: Path | str | None = None) -> None:
        self.root = open_path(root if root is not None else os.environ.get("ECGVF_STORE") or "ecgvf-store")
        try:
            self._check()
        except OSError as error:
            raise StoreError(
                f"cannot read {shortened(self.root)} ({error.strerror or error}): name another folder with --store"
            ) from error

    @classmethod
    def of(cls, store: "Store | Path | str | None") -> "Store":
        """``store`` itself, or the store under that root. Raises as ``Store`` does."""
        return store if isinstance(store, Store) else cls(store)

    def __repr__(self) -> str:
        return f"Store({str(self.root)!r})"

    def _check(self) -> None:
        file = self.root / "store.json"
        if file.is_file():
            written = read_json(file).get("format")
            if written != FORMAT:
                raise StoreVersionError(
                    f"the store {self.root} has format {written}, this version of ecgvf reads format {FORMAT}: "
                    f"use the version that wrote it, or another folder with --store"
                )
        elif self.root.is_file():
            raise StoreError(f"{self.root} is a file, not a store: name a folder with --store")
        elif self.root.is_dir() and any(not entry.name.endswith(".tmp") for entry in self.root.iterdir()):
            raise StoreError(
                f"{self.root} holds other files and no store.json: name an empty or new folder with --store"
            )

    def folder(self, concept: str, stage: str) -> Path:
        """``STORE/<concept>/<stage>``, not created. Raises ``StoreError`` for a name that cannot be a folder."""
        for name in (concept, stage):
            if not _FOLDER.fullmatch(name):
                raise StoreError(f"{name!r} cannot name a folder of the store: use lower-case letters, digits, hyphens")
        return self.root / concept / stage

    def concepts(self) -> list[str]:
        """Names of the concepts with a run here, sorted."""
        return sorted(file.parent.name for file in self.root.glob("*/concept.json"))

    def concept(self, name: str | None = None) -> Concept:
        """The concept ``name`` (None: the last one) as this store keeps it. Raises ``StageMissing``."""
        name = self.last_concept() if name is None else name
        if name.endswith((".yaml", ".yml")):
            raise StageMissing(
                f"{name} is a file: name a concept of {self.root} (there: {self._known()}), or run `ecgvf generate "
                f"--concept {name}` first"
            )
        file = self._concept_file(name)
        if not file.is_file():
            ships = f"run `ecgvf generate --concept {name}` first"
            unknown = "run `ecgvf generate --concept` first, with a name of `ecgvf concepts` or your own YAML file"
            raise StageMissing(
                f"no run of {name!r}{did_you_mean(name, self.concepts())} in {self.root} (there: {self._known()}): "
                f"{ships if name in names() else unknown}"
            )
        return parse(read_json(file), str(file))

    def _known(self) -> str:
        return ", ".join(self.concepts()) or "none"

    def last_concept(self, advice: str = "run `ecgvf generate --concept NAME` first") -> str:
        """Name of the concept that commands without ``--concept`` take.

        Raises ``StageMissing``, which ends with ``advice``, if there is none.
        """
        try:
            return (self.root / "last").read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError:
            raise StageMissing(f"nothing in {self.root} yet: {advice}") from None

    def remember(self, concept: Concept) -> None:
        """Record ``concept`` as it is now, and make it the last one."""
        self.create()
        self._write_concept(concept)
        write_atomic(self.root / "last", f"{concept.name}\n".encode())

    def remember_new(self, concept: Concept) -> None:
        """Record ``concept``, unless there is one of its name; the last concept stays, if there is one."""
        if not self._concept_file(concept.name).is_file():
            self.create()
            self._write_concept(concept)
            self.remember_first(concept.name)

    def remember_first(self, name: str) -> None:
        """Make ``name`` the last concept, unless there is one."""
        if not (self.root / "last").is_file():
            self.create()
            write_atomic(self.root / "last", f"{name}\n".encode())

    def create(self) -> None:
        """Write ``store.json`` if it is missing; call this before writing anything else."""
        if not (self.root / "store.json").is_file():
            write_atomic(self.root / "store.json", pretty_json({"format": FORMAT}))

    def _write_concept(self, concept: Concept) -> None:
        write_atomic(self._concept_file(concept.name), pretty_json(concept.model_dump(mode="json")))

    def _concept_file(self, name: str) -> Path:
        return self.folder(name, "pairs").parent / "concept.json"
