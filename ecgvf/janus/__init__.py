"""The model under test: any `JanusForConditionalGeneration`, nano or 7B, through one code path.

prompt ──prompting──▶ ids ──decoding──▶ image tokens ──pixels──▶ picture
                             │   ▲
                          layers sampling
                             │
         (prompt, tokens) ──hidden──▶ the states from which the tokens were predicted
"""

from ecgvf.janus.decoding import Drawing, draw
from ecgvf.janus.hidden import hidden_states, logits
from ecgvf.janus.loading import MODELS, JanusModel, load
from ecgvf.janus.pixels import decode
from ecgvf.janus.prompting import chat, generation_ids, unconditional
from ecgvf.janus.sampling import Sampling, noise
from ecgvf.janus.threads import threads

__all__ = [
    "MODELS",
    "Drawing",
    "JanusModel",
    "Sampling",
    "chat",
    "decode",
    "draw",
    "generation_ids",
    "hidden_states",
    "load",
    "logits",
    "noise",
    "threads",
    "unconditional",
]
