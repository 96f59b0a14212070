"""Peers: the child process and its protocol, and the real ones where they are installed."""

from __future__ import annotations

import importlib.util
import os
import signal
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from specbranch_cpp import Engine, InvalidArgument
from specbranch_cpp.bench import peers
from specbranch_cpp.bench.peers import peer as peer_module
from specbranch_cpp.bench.peers import process as process_module
from specbranch_cpp.bench.peers.process import PeerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

MAX_TOKENS = 40
PROMPTS = (
    "def add(a, b):\n    return a + b\n\n\ndef sub(a, b):\n    return a",
    "import os\nimport sys\n\n\ndef main(argv=None):\n    ",
)
FAKE = """
import os, signal, sys, time

class Backend:
    def __init__(self, pair, lengths):
        self.pair, self.lengths = pair, lengths

    def describe(self):
        return {"version": "fake 1", "system_info": "", "draft_lengths": self.lengths}

    def generate(self, tokens, max_tokens, draft_length):
        do = tokens[0]
        if do == 1:
            print("chatter"); sys.stdout.flush(); os.write(1, b"native chatter\\n")
        elif do == 2:
            raise ValueError("no such token")
        elif do == 3:
            os.write(2, b"the sky fell\\n"); os.kill(os.getpid(), signal.SIGABRT)
        elif do == 4:
            os.write(2, b"giving up\\n"); os._exit(7)
        elif do == 5:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.write(2, b"waiting\\n")
            while True:
                time.sleep(60)
        ours = [name for name in sys.modules if name.split(".")[0] == "specbranch_cpp"]
        return {
            "tokens": [len(ours), *sorted(os.sched_getaffinity(0)), draft_length],
            "prefill_ms": 1.0, "decode_ms": 2.0, "n_drafted": None, "n_accepted": None,
        }

def open_backend(pair, draft_length, *arguments):
    if pair["target"] == "/bad":
        raise OSError("bad file")
    if pair["target"] == "/deadly":
        os._exit(9)
    return Backend(pair, [0, 4] if "drafts" in arguments else [0])
"""
PAIR = peers.PeerPair("/target", None, n_ctx=64, n_threads=1, cpus=None)
NOISE, REFUSE, ABORT, EXIT, HANG, PLAIN = 1, 2, 3, 4, 5, 6


@pytest.fixture
def open_fake(tmp_path: Path) -> Iterator[Callable[..., peers.Peer]]:
    """Opens a peer whose backend is the fake one."""
    file = tmp_path / "fake.py"
    file.write_text(FAKE)
    opened = []

    def make(pair: peers.PeerPair = PAIR, *arguments: str, restarts: bool = False) -> peers.Peer:
        backend = peer_module.Backend("json", str(file), arguments, "", restarts=restarts)
        opened.append(peers.Peer("fake", pair, backend))
        return opened[-1]

    yield make
    for peer in opened:
        peer.close()


def test_answers_are_read_in_spite_of_chatter(open_fake: Callable[..., peers.Peer]) -> None:
    peer = open_fake(PAIR, "drafts")
    assert (peer.version, peer.draft_lengths) == ("fake 1", (0, 4))
    for _ in range(3):
        result = peer.generate([NOISE], 1, 4)
        assert result.tokens[-1] == 4
        assert (result.prefill_ms, result.n_drafted) == (1.0, None)


def test_the_child_runs_where_it_should_and_without_our_package(
    open_fake: Callable[..., peers.Peer],
) -> None:
    cpu = max(os.sched_getaffinity(0))
    pair = peers.PeerPair("/target", None, n_ctx=64, n_threads=1, cpus=(cpu,))
    assert open_fake(pair).generate([PLAIN], 1).tokens == (0, cpu, 0)


def test_a_refusal_leaves_the_child_usable(open_fake: Callable[..., peers.Peer]) -> None:
    peer = open_fake()
    with pytest.raises(peers.PeerError, match="refused: ValueError: no such token"):
        peer.generate([REFUSE], 1)
    assert peer.generate([PLAIN], 1).tokens[0] == 0


@pytest.mark.parametrize(
    ("do", "how", "words"),
    [(ABORT, "of SIGABRT", "the sky fell"), (EXIT, "with exit status 7", "giving up")],
)
def test_a_child_that_dies(
    open_fake: Callable[..., peers.Peer], do: int, how: str, words: str
) -> None:
    peer = open_fake()
    with pytest.raises(peers.PeerError, match=f"fake died {how}; the end of its stderr: {words}"):
        peer.generate([do], 1)
    with pytest.raises(peers.PeerError, match="closed"):
        peer.generate([PLAIN], 1)


@pytest.mark.parametrize(("target", "how"), [("/bad", "bad file"), ("/deadly", "exit status 9")])
def test_a_child_that_does_not_open(
    open_fake: Callable[..., peers.Peer], target: str, how: str
) -> None:
    with pytest.raises(peers.PeerError, match=how):
        open_fake(peers.PeerPair(target, None, n_ctx=64, n_threads=1, cpus=None))


def test_a_child_that_hangs_is_ended(
    open_fake: Callable[..., peers.Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "GRACE_S", 0.2)
    monkeypatch.setattr(peer_module, "GENERATE_TIMEOUT_S", 5.0)
    peer = open_fake()
    process = peer._process
    with pytest.raises(
        peers.PeerError, match=r"no answer within 5 s; the end of its stderr: waiting"
    ):
        peer.generate([HANG], 1)
    assert process.exit_status == -signal.SIGKILL
    peer.close()  # again


def test_an_interrupted_question_ends_the_child(
    open_fake: Callable[..., peers.Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_process: PeerProcess, _timeout_s: float) -> bytes:
        raise KeyboardInterrupt

    peer = open_fake()
    process = peer._process
    monkeypatch.setattr(PeerProcess, "_read_line", interrupt)
    with pytest.raises(KeyboardInterrupt):
        peer.generate([PLAIN], 1)
    assert process.exit_status == -signal.SIGTERM


def test_another_draft_length_starts_another_child_if_need_be(
    open_fake: Callable[..., peers.Peer],
) -> None:
    for restarts in (False, True):
        peer = open_fake(PAIR, "drafts", restarts=restarts)
        first = peer._process
        assert peer.generate([PLAIN], 1, 0).tokens[-1] == 0
        assert peer._process is first
        assert peer.generate([PLAIN], 1, 4).tokens[-1] == 4
        second = peer._process
        assert (second is not first) == restarts
        assert (first.exit_status is not None) == restarts
        assert peer.generate([PLAIN], 1, 4).tokens[-1] == 4
        assert peer._process is second


@pytest.mark.parametrize(
    ("tokens", "max_tokens", "draft_length", "message"),
    [
        ([], 1, 0, "tokens is empty"),
        ([PLAIN], 0, 0, "max_tokens is 0"),
        ([PLAIN] * 60, 5, 0, "60 tokens of prompt and max_tokens 5 are more than n_ctx 64"),
        ([PLAIN], 1, -1, "draft_length is -1"),
        ([PLAIN], 1, 2, "draft_length is 2; it must be 0, because fake cannot draft"),
    ],
)
def test_arguments(
    open_fake: Callable[..., peers.Peer],
    tokens: list[int],
    max_tokens: int,
    draft_length: int,
    message: str,
) -> None:
    peer = open_fake()
    with pytest.raises(InvalidArgument, match=message):
        peer.generate(tokens, max_tokens, draft_length)
    assert len(peer.generate([PLAIN] * 60, 4).tokens) > 1  # nothing was asked, all is well


def test_names() -> None:
    assert peers.NAMES == (
        "llama-cpp-python",
        "llama-cpp-python-lookup",
        "llama-server",
        "llama-server-ngram",
    )
    with pytest.raises(
        InvalidArgument, match="peer is 'vllm'; it must be one of llama-cpp-python, "
    ):
        peers.open_peer("vllm", PAIR)


def test_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = peer_module.Backend("no_such_package_here", "none.py", (), "pip install it")
    monkeypatch.setitem(peer_module.BACKENDS, "llama-server", backend)
    with pytest.raises(peers.PeerMissing, match="no_such_package_here; install it with: pip insta"):
        peers.open_peer("llama-server", PAIR)


def test_rate() -> None:
    assert peers.PeerResult((1, 2, 3), 9.0, 4.0, 0, 0).tokens_per_second == 500.0
    assert peers.PeerResult((1,), 9.0, 0.0, 0, 0).tokens_per_second == 0.0


# --- the real ones ---


def open_real(name: str, target: Path, draft: Path | None, n_ctx: int = 1024) -> peers.Peer:
    package = peer_module.BACKENDS[name].package
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    pair = peers.PeerPair(
        str(target), None if draft is None else str(draft), n_ctx=n_ctx, n_threads=1, cpus=None
    )
    return peers.open_peer(name, pair)


@pytest.fixture(scope="module")
def expected(engine: Engine) -> list[tuple[list[int], tuple[int, ...]]]:
    """Prompts with what our engine makes of them, greedily and one token after the other."""
    prompts = [engine.tokenize(prompt) for prompt in PROMPTS]
    prompts.append((prompts[0] * 40)[:700])  # longer than a batch of llama-cpp-python
    return [
        (list(prompt), tuple(engine.generate(
            prompt, max_tokens=MAX_TOKENS, mode="autoregressive"
        ).result().tokens))
        for prompt in prompts
    ]  # fmt: skip


def is_near_tie(engine: Engine, text: list[int], one: int, other: int) -> bool:
    """Whether rounding may decide between two tokens: the tools were compiled for other CPUs."""
    done = engine.generate(text, max_tokens=1, mode="autoregressive", logprobs=8).result()
    assert done.logprobs is not None
    top = done.logprobs[0].top
    return one in top and other in top and abs(top[one] - top[other]) < 0.2


@pytest.mark.parametrize("name", peers.NAMES)
def test_tokens_are_those_of_the_engine(
    name: str,
    pair: tuple[Path, Path],
    engine: Engine,
    expected: list[tuple[list[int], tuple[int, ...]]],
) -> None:
    n_equal = 0
    with open_real(name, *pair) as peer:
        assert name == "llama-cpp-python" or len(peer.draft_lengths) > 2
        for draft_length in (*peer.draft_lengths, 0):
            for prompt, tokens in expected:
                result = peer.generate(prompt, MAX_TOKENS, draft_length)
                assert len(result.tokens) == MAX_TOKENS
                n_equal += result.tokens == tokens
                for i, (theirs, ours) in enumerate(zip(result.tokens, tokens, strict=True)):
                    if theirs != ours:
                        assert is_near_tie(engine, [*prompt, *tokens[:i]], theirs, ours)
                        break
                assert result.prefill_ms > 0
                assert result.decode_ms > 0
                assert result.n_drafted is not None
                assert result.n_accepted is not None
                assert (result.n_drafted > 0) == (draft_length > 0)
                assert 0 <= result.n_accepted <= min(result.n_drafted, MAX_TOKENS)
        assert len(peer.generate(expected[0][0], 1).tokens) == 1
    assert n_equal > 0


def test_a_server_without_a_draft_does_not_draft(pair: tuple[Path, Path]) -> None:
    with open_real("llama-server", pair[0], None) as peer:
        assert peer.draft_lengths == (0,)
        with pytest.raises(InvalidArgument, match="cannot draft"):
            peer.generate([5], 1, 2)


def test_a_draft_equal_to_the_target_is_accepted(
    pair: tuple[Path, Path], expected: list[tuple[list[int], tuple[int, ...]]]
) -> None:
    with open_real("llama-server", pair[0], pair[0]) as peer:
        result = peer.generate(expected[0][0], MAX_TOKENS, 3)
    assert result.n_drafted is not None
    assert result.n_drafted > MAX_TOKENS // 2
    assert result.n_accepted == result.n_drafted


def lookup_counts(prompt: Sequence[int], tokens: Sequence[int], length: int) -> tuple[int, int]:
    """What prompt lookup drafts, and what of it is in the text: the longest n-gram of at most two
    tokens at the end of the text, where it is found first, and what follows it there."""
    text = [*prompt, *tokens]
    done = len(prompt) + 1
    n_drafted = n_accepted = 0
    while done < len(text):
        draft: list[int] = []
        for size in (2, 1):
            tail = text[done - size : done]
            starts = [i + size for i in range(done - size) if text[i : i + size] == tail]
            if starts:
                draft = text[starts[0] : min(starts[0] + length, done)]
                break
        right = 0
        while right < len(draft) and text[done : done + right + 1][right:] == [draft[right]]:
            right += 1
        n_drafted += len(draft)
        n_accepted += right
        done += right + 1
    return n_drafted, n_accepted


def test_what_prompt_lookup_drafts_is_counted(
    pair: tuple[Path, Path], expected: list[tuple[list[int], tuple[int, ...]]]
) -> None:
    with open_real("llama-cpp-python-lookup", *pair) as peer:
        for length in (1, 4):
            for prompt, _ in expected:
                result = peer.generate(prompt, MAX_TOKENS, length)
                counts = lookup_counts(prompt, result.tokens, length)
                assert (result.n_drafted, result.n_accepted) == counts


def with_eos(source: Path, file: Path, token: int) -> Path:
    """The same model with another token that ends a text."""
    content = bytearray(source.read_bytes())
    key = b"tokenizer.ggml.eos_token_id"
    place = content.index(key) + len(key)
    kind: tuple[Any, ...] = struct.unpack_from("<I", content, place)
    assert kind == (4,)  # GGUF's uint32
    struct.pack_into("<I", content, place + 4, token)
    file.write_bytes(content)
    return file


@pytest.mark.parametrize("name", peers.NAMES)
def test_the_text_ends_where_the_engine_ends_it(
    name: str,
    pair: tuple[Path, Path],
    expected: list[tuple[list[int], tuple[int, ...]]],
    tmp_path: Path,
) -> None:
    prompt = expected[0][0]
    with open_real(name, *pair) as peer:
        tokens = peer.generate(prompt, MAX_TOKENS).tokens
    last = next(i for i in range(8, MAX_TOKENS) if tokens[i] not in tokens[:i])
    target, draft = (
        with_eos(file, tmp_path / f"{i}.gguf", tokens[last]) for i, file in enumerate(pair)
    )
    with Engine(target, n_ctx=1024, n_threads=1, measure_costs=False) as engine:
        text = [*prompt, *tokens[:last]]
        done = engine.generate(text, max_tokens=5, mode="autoregressive").result()
    assert (done.finish_reason, tuple(done.tokens)) == ("stop", ())  # so does our engine
    with open_real(name, target, draft) as peer:
        for draft_length in {0, peer.draft_lengths[-1]}:
            # Also where the last token that is allowed is the one that ends the text.
            for max_tokens in (MAX_TOKENS, last + 1, last):
                assert peer.generate(prompt, max_tokens, draft_length).tokens == tokens[:last]


def test_a_prompt_that_does_not_exist_is_refused(pair: tuple[Path, Path]) -> None:
    with open_real("llama-server", *pair) as peer:
        with pytest.raises(peers.PeerError, match="invalid tokens"):
            peer.generate([10**7], 1)
        assert len(peer.generate([5], 3).tokens) == 3


def test_a_server_without_a_gpu_is_no_peer_of_models_on_one(pair: tuple[Path, Path]) -> None:
    if importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp is not installed")
    target, draft = map(str, pair)  # the package on PyPI is for the CPU
    placed = peers.PeerPair(target, draft, n_ctx=64, n_threads=1, cpus=None, n_gpu_layers=-1)
    with pytest.raises(peers.PeerError, match="xllamacpp finds no GPU"):
        peers.open_peer("llama-server", placed)
    with peers.open_peer("llama-server", replace(placed, n_gpu_layers=0)) as peer:
        assert len(peer.generate([5], 3).tokens) == 3
