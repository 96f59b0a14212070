"""H-RAD (SpecBranch, arXiv:2506.01979): traces of the engine, and the classifier learned from them.

    specbranch hrad collect -m target.gguf -md draft.gguf --prompts prompts.jsonl -o traces
    specbranch hrad train traces -o hrad.safetensors

From the target's last hidden states, the classifier predicts how many tokens of the drafted window
the target will accept: none, some or all.
"""

from __future__ import annotations

from specbranch_cpp.hrad.collection import Collected, TraceSettings, collect
from specbranch_cpp.hrad.records import LABELS, Records, fate, load_traces, rounds_of
from specbranch_cpp.hrad.weights import Classifier

__all__ = [
    "LABELS",
    "Classifier",
    "Collected",
    "Records",
    "TraceSettings",
    "collect",
    "fate",
    "load_traces",
    "rounds_of",
]
