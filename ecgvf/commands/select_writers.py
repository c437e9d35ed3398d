"""Who writes the pairs of ``ecgvf generate`` and ``ecgvf build``: the writers that the user names, or the default."""

from ecgvf.commands.options import WriterArguments
from ecgvf.core import console
from ecgvf.core.errors import SettingsError
from ecgvf.llm.budget import check_budget
from ecgvf.llm.registry import OFFLINE, LLMWriter, Registry, check_keys, missing_keys
from ecgvf.llm.secrets import unscrubbed_keys


def select_writers(options: WriterArguments, *, keys: bool) -> tuple[list[LLMWriter], bool]:
    """The LLMs that will write (none: the offline writer), and whether the user named them.

    With ``keys``, each needs its key, because something will be sent; warns of keys that are not scrubbed. Raises
    ``SettingsError``, ``WriterError``.
    """
    check_budget(options.budget)
    named = _named_writers(options, keys=keys)
    writers = _default_writers(Registry.from_environment(options.registry), keys=keys) if named is None else named
    if keys and (unscrubbed := unscrubbed_keys(writers)):
        variables = ", ".join(unscrubbed)
        console.warn(f"too short or too simple to be a secret, so not scrubbed from what servers send: {variables}")
    return writers, named is not None


def _named_writers(options: WriterArguments, *, keys: bool) -> list[LLMWriter] | None:
    names, url, model = options.writers, options.writer_url, options.writer_model
    if (url is None) != (model is None):
        raise SettingsError("--writer-url and --writer-model go together: which server, and which of its models")
    if url is not None and model is not None:
        if names is not None:
            raise SettingsError("--writers and --writer-url: name one of them")
        return [Registry.from_environment(options.registry).own_server(url, model)]
    if names is None:
        return None
    if names.strip() == OFFLINE:
        return []
    if OFFLINE in [part.strip() for part in names.split(",")]:
        raise SettingsError("the offline writer writes alone: --writers offline, or the names of LLMs")
    writers = Registry.from_environment(options.registry).select(names)
    if keys:
        check_keys(writers)
    elif missing := missing_keys(writers):
        console.note(f"no key is set for {missing}; nothing is sent, and none is needed")
    return writers


def _default_writers(registry: Registry, *, keys: bool) -> list[LLMWriter]:
    ready = registry.ready()
    if ready or keys:
        return ready
    console.note("no key is set: these are the calls that the six families would get")
    return registry.preset("default")
