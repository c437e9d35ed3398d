"""Adapters: the tuned weights of some modules, applied to a model, saved, loaded and stacked.

An adapter replaces modules of the language model, named relative to it ("layers.0.self_attn.q_proj"), by modules with
tuned weights (ear/method/tuned.py): full weights or LoRA. Outside ``active``, the model stays frozen, bit for bit.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from ear.method import lora
from ear.method.facts import ADAPTER_FACTS, erased_names
from ear.method.recipe import Modules
from ear.method.tuned import LoRAProjection, TunedModule, new_lora, tuned
from ecgvf.core.errors import AdapterError, RecipeError
from ecgvf.core.files import write_atomic
from ecgvf.janus import JanusModel

FORMAT = "ear-adapter-1"


@dataclass(frozen=True)
class Adapter:
    """Tuned modules by name."""

    modules: Mapping[str, TunedModule]
    facts: Mapping[str, Any]
    """The facts of the training, as saved with the weights (``saved_facts``); empty during training."""
    rewrites = False
    """Prompts stay as they are."""

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The tuned parameters by name."""
        return {
            f"{name}.{kind}": parameter
            for name, module in self.modules.items()
            for kind, parameter in module.named_parameters()
            if kind != "bias"
        }

    @property
    def weights(self) -> list[nn.Parameter]:
        """The tuned parameters, in the order of their names."""
        return [*self.parameters.values()]

    @property
    def low_rank(self) -> dict[str, LoRAProjection]:
        """Its LoRA modules by name; empty if it has full weights."""
        return {name: module for name, module in self.modules.items() if isinstance(module, LoRAProjection)}

    @property
    def concepts(self) -> list[str]:
        """Names of the concepts that it erases."""
        return str(self.facts["concept"]).split("+")

    @contextmanager
    def active(self, model: JanusModel) -> Iterator[JanusModel]:
        """Context in which ``model`` has the tuned modules; they are taken out again at its end."""
        with ExitStack() as restore:
            for name, module in self.modules.items():
                path, _, child = name.rpartition(".")
                parent = model.language_model.get_submodule(path)
                restore.callback(setattr, parent, child, getattr(parent, child))
                setattr(parent, child, module)
            yield model

    def save(self, file: Path, facts: Mapping[str, Any], dtype: torch.dtype) -> None:
        """Write the weights in ``dtype`` with ``facts`` (JSON), whole or not at all.

        LoRA's configuration is written beside ``file``, which PEFT expects to be called adapter_model.safetensors.
        """
        weights: Mapping[str, Tensor] = self.parameters
        if low_rank := self.low_rank:
            lora.write_config(file.parent, str(facts["model"]), low_rank)
            weights = lora.tensors(low_rank)
        tensors = {name: weight.detach().to(device="cpu", dtype=dtype).contiguous() for name, weight in weights.items()}
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
"""``Recipe.modules`` → names of the tuned modules within a layer."""


def module_names(layers: Sequence[int], modules: Modules) -> list[str]:
    """Names, relative to the language model, of the ``modules`` of ``layers``."""
    return [f"layers.{layer}.{name}" for layer in layers for name in _MODULES[modules]]


def new_adapter(
    model: JanusModel,
    layers: Sequence[int],
    modules: Modules,
    dtype: torch.dtype = torch.float32,
    *,
    rank: int | None = None,
    seed: int = 0,
) -> Adapter:
    """An adapter to train, which changes nothing yet: copies of the frozen weights in ``dtype``, with gradients.

    With ``rank``, LoRA of this rank on the projections instead, drawn by ``seed``. Raises ``RecipeError`` for a model
    whose layers have other names.
    """
    made: dict[str, TunedModule] = {}
    generator = torch.Generator().manual_seed(seed)
    for name in module_names(layers, modules):
        try:
            frozen = _frozen(model, name)
        except AdapterError as error:
            raise RecipeError(
                f"{model.name} has no layer {name}: recipes tune modules that Janus's language model has"
            ) from error
        if rank is None:
            made[name] = tuned(frozen.weight.detach().to(dtype, copy=True), frozen)
        elif isinstance(frozen, nn.Linear):
            made[name] = new_lora(frozen, rank, dtype, generator)
    adapter = Adapter(made, {})
    for weight in adapter.weights:
        weight.requires_grad_(True)
    return adapter


def load(model: JanusModel, file: Path) -> Adapter:
    """The adapter in ``file``, in the model's dtype. Raises ``AdapterError`` for another file, or another model's."""
    facts, weights = read(file)
    check_model(facts, model, file)
    if file.name == lora.LORA_FILE:
        return Adapter(_low_rank(model, weights, file), facts)
    if any(name.endswith(".lora_A") for name in weights):
        raise AdapterError(f"{file} is of a LoRA adapter, a folder in PEFT's format: keep its name {lora.LORA_FILE}")
    return Adapter(_modules(model, weights, file), facts)


def adapter_of(model: JanusModel, weights: Mapping[str, Tensor], file: Path) -> Adapter:
    """An adapter with full ``weights`` by module name, in the model's dtype. Raises ``AdapterError``, which names
    ``file``, if they do not fit."""
    return Adapter(_modules(model, weights, file), {})


def check_model(facts: Mapping[str, Any], model: JanusModel, file: Path) -> None:
    """Raise ``AdapterError`` unless the adapter in ``file``, with these facts, was made for ``model``."""
    if facts.get("fingerprint") != model.fingerprint:
        raise AdapterError(
            f"{file} was trained on {facts.get('model')} ({facts.get('fingerprint')}), which is not {model.name} "
            f"({model.fingerprint}): pass that model as --model"
        )


def read(file: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The facts of a saved adapter, and its tensors by name without ".weight". Raises ``AdapterError``."""
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
    if not isinstance(facts, dict) or not facts.keys() >= ADAPTER_FACTS:
        raise AdapterError(f"{file} lacks the facts of its training: train again, or restore it")
    return facts, weights


def stack(model: JanusModel, files: Sequence[Path]) -> Adapter:
    """An adapter with the changes of all ``files`` added up: frozen weight + the sum of differences from it.

    Raises ``AdapterError`` as ``load`` does.
    """
    adapters = [load(model, file) for file in files]
    if len(adapters) == 1:
        return adapters[0]
    names = dict.fromkeys(name for adapter in adapters for name in adapter.modules)
    summed: dict[str, TunedModule] = {}
    for name in names:  # module by module: float32 sums of all of them may not fit beside a large model
        module = _frozen(model, name)
        weight = frozen = module.weight.detach().float()
        for each in (adapter.modules[name] for adapter in adapters if name in adapter.modules):
            weight = weight + (each.change if isinstance(each, LoRAProjection) else each.weight.float() - frozen)
        summed[name] = tuned(weight.to(model.dtype), module)
    return Adapter(summed, _stacked_facts(adapters))


def _stacked_facts(adapters: Sequence[Adapter]) -> dict[str, Any]:
    """The last adapter's facts, with the concepts that any of ``adapters`` erases or rehearsed."""
    facts = {
        **adapters[-1].facts,
        "concept": "+".join(str(adapter.facts["concept"]) for adapter in adapters),
        "unsafe": any(adapter.facts.get("unsafe", True) for adapter in adapters),
        "erased": sorted({name for adapter in adapters for name in erased_names(adapter.facts)}),
    }
    rehearsed = {name for adapter in adapters for name in adapter.facts.get("rehearsed_concepts", [])}
    return {**facts, "rehearsed_concepts": sorted(rehearsed)} if rehearsed else facts


def _low_rank(model: JanusModel, weights: Mapping[str, Tensor], file: Path) -> dict[str, TunedModule]:
    pairs, scaling = lora.read_tensors(weights, file)
    made: dict[str, TunedModule] = {}
    for name, (a, b) in pairs.items():
        frozen = _frozen(model, name)
        if not isinstance(frozen, nn.Linear) or (len(b), a.shape[-1]) != tuple(frozen.weight.shape):
            raise AdapterError(f"{file}: {name} does not fit {model.name}: the adapter belongs to another model")
        parts = [part.to(device=model.device, dtype=model.dtype) for part in (a, b)]
        made[name] = LoRAProjection(parts[0], parts[1], scaling, frozen)
    return made


def _modules(model: JanusModel, weights: Mapping[str, Tensor], file: Path) -> dict[str, TunedModule]:
    made: dict[str, TunedModule] = {}
    for name, weight in weights.items():
        frozen = _frozen(model, name)
        if frozen.weight.shape != weight.shape:
            raise AdapterError(
                f"{file}: {name} has shape {tuple(weight.shape)}, in {model.name} {tuple(frozen.weight.shape)}: "
                "the adapter belongs to another model"
            )
        made[name] = tuned(weight.to(device=model.device, dtype=model.dtype), frozen)
    return made


def _frozen(model: JanusModel, name: str) -> nn.Linear | LlamaRMSNorm:
    try:
        module = model.language_model.get_submodule(name)
    except AttributeError as error:
        raise AdapterError(f"{model.name} has no module {name}: the adapter belongs to another model") from error
    if not isinstance(module, nn.Linear | LlamaRMSNorm):
        raise AdapterError(f"{name} of {model.name} cannot be tuned: the adapter belongs to another model")
    return module
