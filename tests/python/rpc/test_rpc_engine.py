"""An engine whose target is on other hosts, which are processes here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.isolated import PROMPT
from tests.python.support.rpc import StandIn, Worker, standing_in, with_less_memory

from specbranch_cpp import Engine, InvalidArgument, Model, ModelLoadError, _core, demo
from specbranch_cpp._rpc.addresses import parse_addresses
from specbranch_cpp._rpc.handshake import PROTOCOL, ask_server

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(
    not _core.has_rpc(), reason="llama.cpp was built without its RPC backend"
)

MODES = ("autoregressive", "speculative", "pearl", "specbranch", "auto")


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker() as found:
        yield found


def over(*workers: Worker, **options: Any) -> Engine:
    options = {"n_ctx": 512, "measure_costs": False, **options}
    return Engine(*demo.pair(), rpc_servers=[each.address for each in workers], **options)


def texts(engine: Engine, **options: Any) -> list[tuple[int, ...]]:
    return [
        engine.complete(PROMPT, max_tokens=60, seed=seed, mode=mode, **options).tokens
        for mode in MODES
        for seed in (1, 2)
    ]


def test_the_protocol_is_the_one_of_this_llama_cpp(worker: Worker) -> None:
    (address,) = parse_addresses("worker", [worker.address])
    found = ask_server(address)
    assert found.version[:2] == PROTOCOL
    assert len(found.devices) >= 1
    assert all(0 < device.free <= device.total for device in found.devices)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_the_texts_are_those_of_a_local_engine(worker: Worker, temperature: float) -> None:
    # The weights on a worker are not repacked.
    with Engine(*demo.pair(), n_ctx=512, n_threads=1, draft_n_threads=1, use_extra_bufts=False,
                measure_costs=False) as local:  # fmt: skip
        expected = texts(local, temperature=temperature)
    with over(worker) as engine:
        assert engine.placement is not None
        assert engine.placement.target.n_gpu_layers == engine.placement.target.n_layers
        assert engine.placement.target.memory["RPC0"] > 2**20
        assert engine.placement.draft is not None
        assert engine.placement.draft.n_gpu_layers == 0
        assert set(engine.placement.draft.memory) == {"CPU"}
        assert texts(engine, temperature=temperature) == expected


def test_two_hosts_share_the_layers(worker: Worker) -> None:
    with over(worker) as engine:
        expected = texts(engine)
    with Worker() as second, over(worker, second) as engine:
        assert engine.placement is not None
        memory = engine.placement.target.memory
        assert min(memory["RPC0"], memory["RPC1"]) > 2**18
        assert texts(engine) == expected


def test_some_layers_stay_here(worker: Worker) -> None:
    with over(worker, n_gpu_layers=2) as engine:
        assert engine.placement is not None
        assert engine.placement.target.n_gpu_layers == 2
        assert len(engine.complete(PROMPT, max_tokens=20).tokens) == 20


def test_a_draft_can_be_sent_to_another_host(worker: Worker) -> None:
    with over(worker, draft_devices=["RPC0"]) as engine:
        assert engine.placement is not None
        assert engine.placement.draft is not None
        assert engine.placement.draft.memory["RPC0"] > 2**18
        assert len(engine.complete(PROMPT, max_tokens=20).tokens) == 20


def test_without_a_draft(worker: Worker) -> None:
    with Engine(demo.pair()[0], n_ctx=256, rpc_servers=[worker.address]) as engine:
        assert len(engine.complete(PROMPT, max_tokens=20).tokens) == 20


def test_several_texts_at_once(worker: Worker) -> None:
    with over(worker, n_parallel=3) as engine:
        alone = [engine.complete(PROMPT, max_tokens=40, seed=n, temperature=0.7).tokens
                 for n in range(3)]  # fmt: skip
        together = [engine.generate(PROMPT, max_tokens=40, seed=n, temperature=0.7)
                    for n in range(3)]  # fmt: skip
        assert [each.result().tokens for each in together] == alone


def test_bit_exact(worker: Worker) -> None:
    with over(worker, bit_exact=True) as engine:
        assert engine.exact_rows is not None
        assert len({tuple(each) for each in texts(engine)}) <= 2


def test_a_host_that_serves_another_engine(worker: Worker) -> None:
    with over(worker), pytest.raises(ModelLoadError, match="another one may be using it"):
        over(worker)
    with over(worker) as engine:
        assert len(engine.complete(PROMPT, max_tokens=4).tokens) == 4


def test_a_host_with_little_memory_gets_few_layers(worker: Worker) -> None:
    with over(worker) as engine:
        assert engine.placement is not None
        needed = engine.placement.target.memory["RPC0"]
        expected = texts(engine)
    with with_less_memory(worker.address, needed * 2 // 3) as address:
        with Engine(*demo.pair(), rpc_servers=[address], n_ctx=512, measure_costs=False) as engine:
            assert engine.placement is not None
            assert 0 < engine.placement.target.n_gpu_layers < engine.placement.target.n_layers
            assert 0 < engine.placement.target.memory["RPC0"] <= needed * 2 // 3
            assert texts(engine) == expected
        words = r"MiB on RPC0, but only .* are free; these settings would fit: n_gpu_layers="
        with pytest.raises(ModelLoadError, match=words):
            Engine(*demo.pair(), rpc_servers=[address], n_ctx=512, n_gpu_layers=-1)


def test_another_version_is_refused() -> None:
    """llama.cpp would end the process."""
    with (
        standing_in(StandIn(version=(PROTOCOL[0], PROTOCOL[1] + 1, 0))) as address,
        pytest.raises(ModelLoadError, match="install the same version"),
    ):
        Engine(*demo.pair(), n_ctx=512, rpc_servers=[address])


def test_a_device_that_no_host_has(worker: Worker) -> None:
    with pytest.raises(InvalidArgument, match="RPC9"):
        over(worker, devices=["RPC9"])


def test_objects_of_options(worker: Worker) -> None:
    target, draft = demo.pair()
    models = (Model(target, n_ctx=256), Model(draft))
    with Engine(*models, rpc_servers=[worker.address], measure_costs=False) as engine:
        assert len(engine.complete(PROMPT, max_tokens=4).tokens) == 4
