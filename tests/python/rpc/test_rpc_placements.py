"""Every placement of the two models on two real devices, which are workers here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.python.support.rpc import Worker

from specbranch_cpp import _core

if TYPE_CHECKING:
    from tests.python.conftest import RunPython

pytestmark = pytest.mark.skipif(
    not _core.has_rpc(), reason="llama.cpp was built without its RPC backend"
)

# Devices that are added stay as long as the process, so it is another one. The weights on a worker
# are not repacked.
PROGRAM = """
import json
from specbranch_cpp import Engine, demo
from specbranch_cpp._rpc.addresses import parse_addresses
from specbranch_cpp._rpc.joining import join_servers
from specbranch_cpp.bench import machine, placements

def run(options):
    with Engine(*demo.pair(), n_ctx=512, measure_costs=False, use_extra_bufts=False,
                **options) as engine:
        placed = engine.placement
        gpus = [sorted({*model.memory} - {"CPU"}) for model in (placed.target, placed.draft)]
        text = engine.generate("def fib(n):", max_tokens=24, mode="specbranch").result()
    return [gpus, list(text.tokens)]

join_servers(parse_addresses("workers", ADDRESSES))
found, skipped = placements.place(["all"], machine.describe())
print(json.dumps({"engine": run({}), **{each.name: run(each.options) for each in found}}))
"""


def test_both_models_go_where_the_placement_says(python: RunPython) -> None:
    with Worker() as one, Worker() as other:
        code = PROGRAM.replace("ADDRESSES", repr([one.address, other.address]))
        found = json.loads(python(code).splitlines()[-1])
    gpus = {name: where for name, (where, _) in found.items()}
    split = gpus.pop("split", [[], []])  # a machine with one core does not have it
    assert split == gpus.pop("shared") == [[], []]
    assert gpus == {
        "engine": [["RPC0"], ["RPC1"]],
        "gpu": [["RPC0"], ["RPC0"]],
        "two-gpus": [["RPC0"], ["RPC1"]],
        "gpus": [["RPC0", "RPC1"], ["RPC1"]],
        "draft-cpu": [["RPC0"], []],
        "gpus-draft-cpu": [["RPC0", "RPC1"], []],
        "target-cpu": [[], ["RPC0"]],
    }
    texts = [text for _, text in found.values()]
    assert all(text == texts[0] for text in texts)
