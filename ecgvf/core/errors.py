"""Every error that a user can cause or meet. The message is all they see, so it says what, where and what to do.

EcgvfError                    exit code 2, one line, no traceback
├── ConceptError              unknown concept, or a concept file that cannot be read
├── ModelError                unknown model, or a checkpoint that cannot be used
├── JudgeError                unknown judge, or a judge that cannot look for this concept
├── TemplateError             a prompt template with an error
├── WriterError               a writer that cannot write: no key, refused, out of budget
├── DatasetError              a dataset that is not found, empty or not readable
├── HubError                  the Hub refuses, cannot be reached, or somebody else was faster
├── RecipeError               a recipe or setting of training that cannot be
├── AdapterError              an adapter that is not found or does not fit the model
├── StoreError
│   ├── StoreVersionError     written by another version of the store format
│   ├── StoreCorrupt          a shard or manifest is not what was written
│   └── StageMissing          the stage before this one has not been run
├── SettingsError             an option's value, or options that contradict each other
└── DiskFull                  no space left
"""

__all__ = [
    "AdapterError",
    "ConceptError",
    "DatasetError",
    "DiskFull",
    "EcgvfError",
    "HubError",
    "JudgeError",
    "ModelError",
    "RecipeError",
    "SettingsError",
    "StageMissing",
    "StoreCorrupt",
    "StoreError",
    "StoreVersionError",
    "TemplateError",
    "WriterError",
]


class EcgvfError(Exception):
    """Root of the tree: something the user can put right. The command line prints it and exits with ``exit_code``."""

    exit_code = 2


class ConceptError(EcgvfError):
    """A concept is not known, or its YAML file is not valid."""


class ModelError(EcgvfError):
    """A model is not known, or its checkpoint cannot be used."""


class JudgeError(EcgvfError):
    """A judge is not known, or it cannot look for this concept."""


class TemplateError(EcgvfError):
    """A prompt template does not render."""


class WriterError(EcgvfError):
    """A writer of pairs cannot write."""


class DatasetError(EcgvfError):
    """A dataset is not found, is empty, or cannot be read."""


class HubError(EcgvfError):
    """The Hub refuses, cannot be reached, or holds something else than was thought."""


class RecipeError(EcgvfError):
    """A recipe is not known, or one of its settings cannot be."""


class AdapterError(EcgvfError):
    """An adapter is not found, or does not fit the model."""


class StoreError(EcgvfError):
    """Something about a run on disk."""


class StoreVersionError(StoreError):
    """The store was written in another version of its format."""


class StoreCorrupt(StoreError):
    """A file of the store is not what was written."""


class StageMissing(StoreError):
    """The stage before this one has not been run."""


class SettingsError(EcgvfError):
    """An option has a value that cannot be, or two options contradict each other."""


class DiskFull(EcgvfError):
    """The disk, or the user's quota, has no space left."""
