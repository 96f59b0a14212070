"""Addresses of RPC servers, and an engine that cannot use them, without an RPC server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from specbranch_cpp import Engine, InvalidArgument, Model, _core, demo
from specbranch_cpp._engine.keywords import Named
from specbranch_cpp._engine.load_options import check_options
from specbranch_cpp._engine.model_options import ModelArgument
from specbranch_cpp._engine.text_sources import TextSources
from specbranch_cpp._rpc.addresses import MAX_SERVERS, Address, parse_addresses
from specbranch_cpp.options import Speculation

if TYPE_CHECKING:
    from specbranch_cpp._engine.load_options import LoadOptions


def test_addresses() -> None:
    found = parse_addresses("rpc_servers", ["10.0.0.2:50052", "gpu-1.lan:1"])
    assert found == (Address("10.0.0.2", 50052), Address("gpu-1.lan", 1))
    assert [str(each) for each in found] == ["10.0.0.2:50052", "gpu-1.lan:1"]
    assert parse_addresses("rpc_servers", None) == ()
    assert parse_addresses("rpc_servers", []) == ()
    assert Address("localhost", 7).resolved() == Address("127.0.0.1", 7)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("10.0.0.2:50052", "rpc_servers is '10.0.0.2:50052'"),
        ([7], r"rpc_servers\[0\] is 7"),
        (["10.0.0.2"], "must be HOST:PORT, such as '10.0.0.2:50052'"),
        ([":50052"], "'' is no IPv4 address and no host name"),
        (["a b:50052"], "'a b' is no IPv4 address"),
        (["-rf:50052"], "'-rf' is no IPv4 address"),
        (["[::1]:50052"], "has no IPv6"),
        (["10.0.0.2:0"], "port must be 1 to 65535"),
        (["10.0.0.2:65536"], "port must be 1 to 65535"),
        (["10.0.0.2:+5"], "port must be 1 to 65535"),
        (["10.0.0.2:"], "port must be 1 to 65535"),
        (["h:1", "h:01"], "'h:1' is there twice"),
        ([f"h:{n}" for n in range(1, MAX_SERVERS + 2)], "at most 16"),
    ],
)
def test_wrong_addresses(given: Any, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        parse_addresses("rpc_servers", given)
    with pytest.raises(InvalidArgument, match=words):
        Engine(*demo.pair(), rpc_servers=given)


@pytest.mark.skipif(_core.has_rpc(), reason="this llama.cpp has its RPC backend")
def test_a_llama_cpp_without_the_backend_says_so() -> None:
    with pytest.raises(InvalidArgument) as error:
        Engine(*demo.pair(), n_ctx=128, rpc_servers=["127.0.0.1:50052"])
    message = str(error.value)
    assert message.startswith("rpc_servers needs llama.cpp's RPC backend")
    assert "-DGGML_NATIVE=OFF" in message
    assert "-DGGML_RPC=ON" in message
    with pytest.raises(InvalidArgument, match="without its RPC backend"):
        _core.add_rpc_server("127.0.0.1:50052")
    with pytest.raises(InvalidArgument, match="without its RPC backend"):
        _core.serve_rpc("127.0.0.1:50052", n_threads=1, devices=[])


def loaded(target: Model, draft: Model | None) -> LoadOptions:
    """The options of an engine with a host."""
    of_target = ModelArgument(target, "target", "")
    of_draft = None
    if draft is not None:
        of_draft = ModelArgument(draft, "draft", "draft_").inheriting(target)
    said = Named(Speculation())
    return check_options(
        of_target, of_draft, said, adapters=[], sources=TextSources.of(said, None), n_parallel=1,
        measure_costs=False, profile=None, bit_exact=False, prefix_reuse="exact", trusted=True,
        rpc_servers=["h:1"], verbose=False, progress_callback=None,
    )  # fmt: skip


def devices(options: LoadOptions) -> list[Any]:
    return [side.model.devices for side in options.sides]


def test_the_draft_stays_on_this_host() -> None:
    remote, local = ["RPC0", "RPC1"], ["CUDA0"]
    plain = loaded(Model("t"), Model("d"))
    assert devices(plain.with_hosts(remote, local)) == [["RPC0", "RPC1", "CUDA0"], ["CUDA0"]]
    assert devices(plain.with_hosts(remote, [])) == [remote, ["CPU"]]
    assert devices(loaded(Model("t"), None).with_hosts(remote, [])) == [remote]


def test_devices_of_the_caller_stay() -> None:
    remote, local = ["RPC0", "RPC1"], ["CUDA0"]
    target = loaded(Model("t", devices=["RPC1"]), Model("d"))
    assert devices(target.with_hosts(remote, local)) == [["RPC1"], ["CUDA0"]]
    both = loaded(Model("t", devices=["RPC1"]), Model("d", devices=["RPC0"]))
    assert devices(both.with_hosts(remote, local)) == [["RPC1"], ["RPC0"]]
