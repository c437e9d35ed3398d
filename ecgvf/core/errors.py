"""Every error that a user can cause or encounter. The message is all they see: it says what, where and what to do.

EcgvfError                    exit code 2, one line, no traceback
├── ConceptError              unknown concept, or an invalid concept file
├── ModelError                unknown model, or an unusable checkpoint
├── JudgeError                unknown judge, or a judge that cannot recognise this concept
├── TemplateError             a prompt template with an error
├── WriterError               a writer that cannot write: no key, refused, out of budget
├── DatasetError              a dataset that is missing, empty or unreadable
├── HubError                  the Hub refuses, is unreachable, or was changed meanwhile
├── RecipeError               unknown recipe, or an invalid training setting
├── AdapterError              an adapter that is missing or does not fit the model
├── StoreError
│   ├── StoreVersionError     written by another version of the store format
│   ├── StoreCorrupt          a shard or manifest is not what was written
│   └── StageMissing          the stage before this one has not been run
├── EngineError               workers that cannot be started, keep dying, or differ from each other
│   └── DeviceFailed          a GPU that has stopped working
├── SettingsError             an invalid option, or options that contradict each other
└── DiskFull                  no space left
"""


class EcgvfError(Exception):
    """Root of the tree: something the user can fix. The command line prints it and exits with ``exit_code``."""

    exit_code = 2


class ConceptError(EcgvfError):
    """A concept is unknown, or its YAML file is invalid."""


class ModelError(EcgvfError):
    """A model is unknown, or its checkpoint is unusable."""


class JudgeError(EcgvfError):
    """A judge is unknown, or it cannot recognise this concept."""


class TemplateError(EcgvfError):
    """A prompt template does not render."""


class WriterError(EcgvfError):
    """A writer of pairs cannot write."""


class DatasetError(EcgvfError):
    """A dataset is missing, empty or unreadable."""


class HubError(EcgvfError):
    """The Hub refuses, is unreachable, or was changed meanwhile."""


class RecipeError(EcgvfError):
    """A recipe is unknown, or one of its settings is invalid."""


class AdapterError(EcgvfError):
    """An adapter is missing, or does not fit the model."""


class StoreError(EcgvfError):
    """A run on disk cannot be read or written."""


class StoreVersionError(StoreError):
    """The store was written in another version of its format."""


class StoreCorrupt(StoreError):
    """A file of the store is not what was written."""


class StageMissing(StoreError):
    """The stage before this one has not been run."""


class EngineError(EcgvfError):
    """Workers cannot be started, keep dying, or differ from each other."""


class DeviceFailed(EngineError):
    """A GPU fails at everything in this process from now on; no single prompt is to blame."""


class SettingsError(EcgvfError):
    """An option is invalid, or two options contradict each other."""


class DiskFull(EcgvfError):
    """The disk, or the user's quota, has no space left."""


def first_line(error: BaseException) -> str:
    """The first line of a library's error without its full stop, to quote in a message of ours; the error's class if it
    says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].removesuffix(".")
