"""The model under test: any ``JanusForConditionalGeneration``, from nano to 7B, through one code path.

name ──loading──▶ JanusModel
prompt ──prompting──▶ token ids ──decoding──▶ image tokens ──pixels──▶ image
                                   │    ▲
                  decoder (fused layers) sampling

           (prompt, image tokens) ──hidden (layers)──▶ hidden states ──▶ logits

      (image, question) ──understanding (vision tower, layers)──▶ the probability of yes
"""

from ecgvf.janus.decoding import generate_image_tokens, render_images
from ecgvf.janus.hidden import PromptNoise, hidden_states, logits
from ecgvf.janus.loading import MODELS, absolute_name, load, load_without_weights
from ecgvf.janus.model import JanusModel
from ecgvf.janus.pixels import decode_images
from ecgvf.janus.prompting import chat_prompt, generation_ids, unconditional_ids
from ecgvf.janus.sampling import Sampling, uniform_noise
from ecgvf.janus.soft_prompts import soft_prompt
from ecgvf.janus.threads import num_threads
from ecgvf.janus.understanding import yes_probabilities

__all__ = [
    "MODELS",
    "JanusModel",
    "PromptNoise",
    "Sampling",
    "absolute_name",
    "chat_prompt",
    "decode_images",
    "generate_image_tokens",
    "generation_ids",
    "hidden_states",
    "load",
    "load_without_weights",
    "logits",
    "num_threads",
    "render_images",
    "soft_prompt",
    "unconditional_ids",
    "uniform_noise",
    "yes_probabilities",
]
