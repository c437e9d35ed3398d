"""Adapters: the tuned weights of some modules, applied to a model, saved, loaded and stacked.

An adapter holds full weights, named relative to the language model ("layers.0.self_attn.q_proj.weight"). Outside
``active`` the model is the frozen one, bit for bit.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from ear.method.recipe import Modules
from ecgvf.core.errors import AdapterError, RecipeError
from ecgvf.core.files import write_atomic
from ecgvf.janus import JanusModel

FORMAT = "ear-adapter-1"
REQUIRED_FACTS = {"concept", "model", "fingerprint", "sampling", "recipe"}


class Projection(nn.Linear):
    """Replaces a frozen projection: a weight of its own, and the frozen bias if there is one.

    The weight may be float32 in a bfloat16 model: it is cast when it is used, and its gradient is float32.
    """

    weight: nn.Parameter

    def __init__(self, weight: Tensor, frozen: nn.Linear) -> None:
        super().__init__(frozen.in_features, frozen.out_features, bias=False, device="meta")
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = frozen.bias

    def forward(self, states: Tensor) -> Tensor:
        return F.linear(states, self.weight.to(states.dtype), self.bias)


class Norm(LlamaRMSNorm):
    """Replaces a frozen RMSNorm, with a weight of its own, which may be float32 in a bfloat16 model."""

    weight: nn.Parameter

    def __init__(self, weight: Tensor, frozen: LlamaRMSNorm) -> None:
        super().__init__(len(weight), frozen.variance_epsilon)
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, states: Tensor) -> Tensor:
        normed: Tensor = super().forward(states)
        return normed.to(states.dtype)


TunedModule = Projection | Norm


@dataclass(frozen=True)
class Adapter:
    """Tuned modules by name."""

    modules: Mapping[str, TunedModule]
    facts: Mapping[str, Any]
    """Where they come from, as saved with them; empty during training."""

    @property
    def weights(self) -> list[nn.Parameter]:
        """The tuned weights, in the order of their names."""
        return [module.weight for module in self.modules.values()]

    @property
    def concepts(self) -> list[str]:
        """Names of the concepts that it erases."""
        return str(self.facts["concept"]).split("+")

    @property
    def rewrites(self) -> bool:
        """Whether prompts are rewritten: never, the weights are tuned."""
        return False

    @contextmanager
    def active(self, model: JanusModel) -> Iterator[JanusModel]:
        """Context in which ``model`` is the tuned model; outside it is the frozen one."""
        with ExitStack() as restore:
            for name, module in self.modules.items():
                path, _, child = name.rpartition(".")
                parent = model.language_model.get_submodule(path)
                restore.callback(setattr, parent, child, getattr(parent, child))
                setattr(parent, child, module)
            yield model

    def save(self, file: Path, facts: Mapping[str, Any], dtype: torch.dtype) -> None:
        """Write the weights in ``dtype`` with ``facts`` (JSON), whole or not at all."""
        tensors = {
            f"{name}.weight": module.weight.detach().to(device="cpu", dtype=dtype).contiguous()
            for name, module in self.modules.items()
        }
        # A single entry: safetensors writes several in an order that differs between runs.
        write_atomic(file, save(tensors, {FORMAT: json.dumps(dict(facts), sort_keys=True, ensure_ascii=False)}))


_MODULES: Mapping[Modules, Sequence[str]] = {
    "attention": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "all": (
        *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
        *("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
        *("input_layernorm", "post_attention_layernorm"),
    ),
}
"""Modules that a recipe tunes → their names in a layer."""


def module_names(layers: Sequence[int], modules: Modules) -> list[str]:
    """Names, relative to the language model, of the ``modules`` of ``layers``."""
    return [f"layers.{layer}.{name}" for layer in layers for name in _MODULES[modules]]


def new_adapter(
    model: JanusModel, layers: Sequence[int], modules: Modules, dtype: torch.dtype = torch.float32
) -> Adapter:
    """An adapter to train: copies of the frozen weights in ``dtype``, with gradients.

    Raises ``RecipeError`` for a model whose layers have other names.
    """
    tuned = {}
    for name in module_names(layers, modules):
        try:
            frozen = _frozen(model, name)
        except AdapterError as error:
            raise RecipeError(
                f"{model.name} has no layer {name}: recipes tune modules that Janus's language model has"
            ) from error
        tuned[name] = _tuned(frozen.weight.detach().to(dtype, copy=True), frozen)
        tuned[name].weight.requires_grad_(True)
    return Adapter(tuned, {})


def load(model: JanusModel, file: Path) -> Adapter:
    """The adapter in ``file``, in the model's dtype. Raises ``AdapterError`` if it is none, or of another model."""
    facts, weights = read(file)
    check_model(facts, model, file)
    return Adapter(_modules(model, weights, file), facts)


def check_model(facts: Mapping[str, Any], model: JanusModel, file: Path) -> None:
    """Raise ``AdapterError`` unless the adapter in ``file``, with these facts, is of ``model``."""
    if facts.get("fingerprint") != model.fingerprint:
        raise AdapterError(
            f"{file} was trained on {facts.get('model')} ({facts.get('fingerprint')}), which is not {model.name} "
            f"({model.fingerprint}): pass that model as --model"
        )


def read(file: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The facts of a saved adapter, and its weights by module. Raises ``AdapterError``."""
    if not file.is_file():
        raise AdapterError(f"no adapter at {file}: `ear train` makes one and prints its path")
    try:
        with safe_open(file, framework="pt") as content:
            metadata = content.metadata() or {}
            weights = {key.removesuffix(".weight"): content.get_tensor(key) for key in content.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise AdapterError(f"{file} is not a readable safetensors file: train again, or restore it") from error
    if FORMAT not in metadata:
        raise AdapterError(f"{file} is not an adapter that `ear train` of this version wrote: train again")
    try:
        facts = json.loads(metadata[FORMAT])
    except ValueError:
        facts = None
    if not isinstance(facts, dict) or not facts.keys() >= REQUIRED_FACTS:
        raise AdapterError(f"{file} lacks the facts of its training: train again, or restore it")
    return facts, weights


def stack(model: JanusModel, files: Sequence[Path]) -> Adapter:
    """One adapter that adds up the changes of all ``files``: frozen weight + the sum of their differences from it.

    Raises ``AdapterError`` as ``load`` does.
    """
    adapters = [load(model, file) for file in files]
    if len(adapters) == 1:
        return adapters[0]
    summed: dict[str, Tensor] = {}
    for adapter in adapters:
        for name, module in adapter.modules.items():
            frozen = _frozen(model, name).weight.detach().float()
            summed[name] = summed.get(name, frozen) + (module.weight.float() - frozen)
    facts = {
        **adapters[-1].facts,
        "concept": "+".join(str(adapter.facts["concept"]) for adapter in adapters),
        "unsafe": any(adapter.facts.get("unsafe", False) for adapter in adapters),
    }
    return Adapter(_modules(model, summed, files[-1]), facts)


def _modules(model: JanusModel, weights: Mapping[str, Tensor], file: Path) -> dict[str, TunedModule]:
    tuned = {}
    for name, weight in weights.items():
        frozen = _frozen(model, name)
        if frozen.weight.shape != weight.shape:
            raise AdapterError(
                f"{file}: {name} has shape {tuple(weight.shape)}, in {model.name} {tuple(frozen.weight.shape)}: "
                "the adapter belongs to another model"
            )
        tuned[name] = _tuned(weight.to(device=model.device, dtype=model.dtype), frozen)
    return tuned


def _tuned(weight: Tensor, frozen: nn.Linear | LlamaRMSNorm) -> TunedModule:
    return Projection(weight, frozen) if isinstance(frozen, nn.Linear) else Norm(weight, frozen)


def _frozen(model: JanusModel, name: str) -> nn.Linear | LlamaRMSNorm:
    try:
        module = model.language_model.get_submodule(name)
    except AttributeError as error:
        raise AdapterError(f"{model.name} has no module {name}: the adapter belongs to another model") from error
    if not isinstance(module, nn.Linear | LlamaRMSNorm):
        raise AdapterError(f"{name} of {model.name} cannot be tuned: the adapter belongs to another model")
    return module
