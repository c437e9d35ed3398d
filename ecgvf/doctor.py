"""Find out what this machine has for each kind of job, and how to get what it lacks."""

import importlib.metadata
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import transformers
from huggingface_hub import constants, get_token, try_to_load_from_cache
from packaging.requirements import Requirement

import ecgvf
from ecgvf.core.errors import EcgvfError
from ecgvf.core.files import is_remote
from ecgvf.core.hub import LOG_IN
from ecgvf.janus import MODELS
from ecgvf.janus.loading import has_weights
from ecgvf.llm.registry import Registry
from ecgvf.publish.repository import account
from ecgvf.world.domain import NANO

PARAMETERS = {"janus-pro-1b": 1_866_921_611, "janus-pro-7b": 6_988_342_923}
"""Model → number of parameters, counted from its configuration; each takes 2 bytes on a GPU, 4 on a CPU."""
EXTRAS = {
    "nudity": "the judge NudeNet (AGPL-3.0)",
    "judges": "judges of timm (`--judge timm:NAME`)",
    "review": "the review page (`ecgvf review`)",
    "ray": "Ray clusters (`--engine ray`)",
    "s3": "a store on S3 (`--store s3://…`)",
}
"""Extra of the package → what it is for; without the extras for development."""
STORE_BYTES = 100_000_000
"""Free disk for ``ear quickstart``, which writes 17 MB."""

State = Literal["ok", "absent", "fault"]


@dataclass(frozen=True, slots=True)
class Check:
    """A thing that some job needs, and whether this machine has it."""

    topic: str
    name: str
    state: State
    """``absent``: jobs of that kind do not run here. ``fault``: not even Janus-nano does."""
    found: str
    advice: str = ""
    """How to get it."""


def diagnose(store: Path) -> Iterator[Check]:
    """Check this machine, and the disk for ``store``. If there is a token, the Hub is asked who owns it.

    No check reveals a key or a token.
    """
    yield from _machine(store)
    yield from _models()
    yield from _writers()
    yield _hub()
    yield from _extras()


def _machine(store: Path) -> Iterator[Check]:
    versions = ", ".join(f"{module.__name__} {module.__version__}" for module in (ecgvf, torch, transformers))
    yield Check("machine", "Python", "ok", f"{platform.python_version()}; {versions}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Check("machine", "cores", "ok", str(cores))
    yield Check("machine", "memory", "ok", _gb(_memory()))
    for name, size in _gpus():
        yield Check("machine", "GPU", "ok", f"{name}, {_gb(size)}")
    if not _gpus():
        yield Check("machine", "GPU", "absent", "PyTorch sees none", "Janus-nano needs none; Janus-Pro does")
    yield _disk(store)


def _disk(store: Path) -> Check:
    if is_remote(store):
        return Check("machine", "disk", "ok", f"not checked: {store} is object storage")
    if (free := _free(store)) >= STORE_BYTES:
        return Check("machine", "disk", "ok", f"{_gb(free)} free for {store}")
    advice = f"free {_gb(STORE_BYTES)}, or put the store elsewhere: --store"
    return Check("machine", "disk", "fault", f"{_gb(free)} free for {store}", advice)


def _models() -> Iterator[Check]:
    yield Check("models", NANO, "ok", "in the package; renders and trains on a CPU")
    cache = Path(constants.HF_HUB_CACHE)
    largest = max((size for _, size in _gpus()), default=0)
    for name, parameters in PARAMETERS.items():
        weights = 2 * parameters
        fits = largest > weights
        room = f"of {_gb(largest)}" if largest else "and there is no GPU"
        downloaded = _is_downloaded(MODELS[name])
        if not fits:
            advice = f"a GPU with more than {_gb(weights)}; for training see `ear train --model {name} --dry-run`"
        elif downloaded:
            advice = ""
        elif _free(cache) < weights:
            advice = f"free {_gb(weights)} for the download in {cache}, or set HF_HOME"
        else:
            advice = f"hf download {MODELS[name]}"
        there = "downloaded" if downloaded else "not downloaded"
        state: State = "ok" if fits and downloaded else "absent"
        yield Check("models", name, state, f"{_gb(weights)} of GPU memory for its weights, {room}; {there}", advice)


def _is_downloaded(repo: str) -> bool:
    """Whether all weights of a model are in the Hub's cache; its configuration comes first (``janus.loading``)."""
    config = try_to_load_from_cache(repo, "config.json")
    return isinstance(config, str) and has_weights(Path(config).parent)


def _writers() -> Iterator[Check]:
    writers: dict[str, list[str]] = {}
    yield Check("writers", "offline", "ok", "needs no key; writes about Janus-nano's world")
    try:
        registry = Registry.from_environment()
    except EcgvfError as error:
        yield Check("writers", "LLMs", "absent", "the file that ECGVF_WRITERS names cannot be used", str(error))
        return
    for writer in registry.preset("default"):
        writers.setdefault(writer.config.key or "", []).append(writer.name)
    for variable, names in writers.items():
        written = ", ".join(names)
        if not variable:
            yield Check("writers", written, "ok", "needs no key")
            continue
        try:
            ready = all(writer.ready for writer in registry.preset("default") if writer.name in names)
        except EcgvfError as error:
            yield Check("writers", written, "absent", f"{variable} is no key", str(error))
            continue
        state: State = "ok" if ready else "absent"
        advice = "" if ready else f"export {variable}=…"
        yield Check("writers", written, state, f"{variable} is {'set' if ready else 'not set'}", advice)


def _hub() -> Check:
    if not get_token():
        return Check("Hub", "login", "absent", "no token", LOG_IN)
    try:
        return Check("Hub", "login", "ok", f"as {account()}")
    except EcgvfError as error:
        return Check("Hub", "login", "absent", "a token whose owner is not known", str(error))


def _extras() -> Iterator[Check]:
    for extra, purpose in EXTRAS.items():
        missing = [each for each in requirements(extra) if not _installed(each.name)]
        if not missing:
            yield Check("extras", extra, "ok", purpose)
            continue
        packages = " ".join(shlex.quote(f"{each.name}{_brackets(each)}{each.specifier}") for each in missing)
        advice = f"{_relative(Path(sys.executable))} -m pip install {packages}"
        yield Check("extras", extra, "absent", f"not installed: {purpose}", advice)


def requirements(extra: str) -> list[Requirement]:
    """What an extra of this package installs."""
    every = map(Requirement, importlib.metadata.requires("ecgvf") or ())
    return [each for each in every if each.marker and f'extra == "{extra}"' in str(each.marker)]


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _brackets(requirement: Requirement) -> str:
    return f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""


def _relative(path: Path) -> Path:
    """``path`` from this folder, if it is in it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _gpus() -> list[tuple[str, int]]:
    """Name and memory of each GPU, in bytes."""
    properties = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return [(each.name, int(each.total_memory)) for each in properties]


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _free(path: Path) -> int:
    """Free bytes where ``path`` is, or where it would be made."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
