"""The command `specbranch serve` before it serves."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from specbranch_cpp import Engine
from specbranch_cpp.cli import app
from specbranch_cpp.cli import serve as command
from specbranch_cpp.errors import InvalidArgument, ModelLoadError
from specbranch_cpp.server import run as serve
from specbranch_cpp.server.run import bind
from specbranch_cpp.server.settings import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.python.conftest import RunPython


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ServerSettings]]:
    """What would have been served."""
    calls: list[tuple[Any, ServerSettings]] = []

    def run(
        engine: Any,
        settings: ServerSettings,
        ready: Callable[[str], None],
        embedding_model: Any,
        listeners: list[Any],
    ) -> bool:
        assert embedding_model is None
        assert listeners == []
        ready("http://somewhere:1")
        calls.append((engine, settings))
        return True

    monkeypatch.setattr("specbranch_cpp.server.run", run)
    monkeypatch.setattr(sys.modules[bind.__module__], "bind", lambda _: [])
    monkeypatch.setattr(command, "Engine", lambda *paths, **options: (paths, options))
    return calls


def invoke(*arguments: str, **environment: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["serve", *arguments], env={"COLUMNS": "200", **environment})
    return result.exit_code, re.sub(r"\x1b\[[0-9;]*m", "", result.output)


def test_defaults(served: list[tuple[Any, ServerSettings]]) -> None:
    code, output = invoke()
    ((engine, settings),) = served
    assert code == 0, output
    assert settings == ServerSettings()
    assert [path.name for path in engine[0]] == ["demo-target.gguf", "demo-draft.gguf"]
    assert "serving demo-target.gguf with demo-draft.gguf at http://somewhere:1/v1" in output
    assert "open http://somewhere:1 in a browser" in output
    assert "reachable from this machine only; no API key is needed" in output


def test_isolation(served: list[tuple[Any, ServerSettings]]) -> None:
    assert invoke("--isolate", "--isolate-timeout", "90")[0] == 0
    assert invoke()[0] == 0
    (_, isolated), (_, plain) = (engine for engine, _ in served)
    assert (isolated["isolate"], isolated["isolate_timeout"]) == (True, 90.0)
    assert (plain["isolate"], plain["isolate_timeout"]) == (False, None)


@pytest.mark.parametrize(
    ("arguments", "lookup_answers", "share_answers"),
    [
        ([], True, False),
        (["--api-key", "a"], True, False),
        (["--api-key", "a", "--api-key", "b"], False, False),
        (["--api-key", "a", "--api-key", "b", "--lookup-answers"], True, True),
        (["--no-lookup-answers"], False, False),
    ],
)
def test_answers_stay_apart(
    served: list[tuple[Any, ServerSettings]],
    arguments: list[str],
    lookup_answers: bool,
    share_answers: bool,
) -> None:
    code, output = invoke(*arguments)
    assert code == 0, output
    (((_, options), settings),) = served
    assert (options["lookup"], options["corpus"]) == (True, None)
    assert options["lookup_answers"] is lookup_answers
    assert settings.share_answers is share_answers


def test_no_answers_without_lookup(served: list[tuple[Any, ServerSettings]]) -> None:
    assert invoke("--no-lookup")[0] == 0
    (((_, options), _),) = served
    assert (options["lookup"], options["lookup_answers"]) == (False, False)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--no-lookup", "--lookup-answers"], "--lookup-answers: it has no effect with --no-look"),
        (["--lora-init-without-apply"], "--lora-init-without-apply: it has no effect without"),
    ],
)
def test_options_without_an_effect(
    served: list[tuple[Any, ServerSettings]], arguments: list[str], told: str
) -> None:
    code, output = invoke(*arguments)
    assert code == 2
    assert told in " ".join(output.replace("\u2502", " ").split())
    assert not served


def test_options(served: list[tuple[Any, ServerSettings]], tmp_path: Path) -> None:
    keys, template = tmp_path / "keys", tmp_path / "template"
    keys.write_text("second\n\n third \n")
    template.write_text("{{ messages }}")
    code, output = invoke(
        "--host", "0.0.0.0", "--port", "0", "--api-key", "first", "--api-key-file", str(keys),
        "--alias", "mine", "--timeout", "5", "--queue-size", "0", "--max-body", "100",
        "--allowed-host", "a.lan", "--cors-origin", "https://a.example", "--grace", "1",
        "--no-page", "--no-metrics", "--no-slots", "--mode", "pearl", "-c", "256",
        "--max-branches", "2", "--chat-template-file", str(template), "--trust",
        "--ctx-total", "1000", "--cache-ram", "50",
    )  # fmt: skip
    assert code == 0, output
    ((engine, settings),) = served
    assert settings == ServerSettings(
        host="0.0.0.0", port=0, api_keys=("first", "second", "third"), alias="mine",
        request_timeout_s=5.0, queue_size=0, max_body_bytes=100, allowed_hosts=("a.lan",),
        cors_origins=("https://a.example",), grace_s=1.0, page=False, metrics=False,
        slots=False,
    )  # fmt: skip
    chosen = engine[1]
    assert (chosen["mode"], chosen["n_ctx"], chosen["max_branches"]) == ("pearl", 256, 2)
    assert (chosen["n_ctx_total"], chosen["cache_ram"], chosen["trusted"]) == (1000, 50, True)
    assert chosen["chat_template"] == "{{ messages }}"
    assert "reachable from every machine in the network; an API key is needed" in output
    assert "browser" not in output


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "template is empty"),
        (" \n", "template is empty"),
        ("a\n{{ x", "template: the chat template is wrong in line 2"),
        ("{% if %}", "template: the chat template is wrong in line 1"),
    ],
)
def test_a_template_that_is_none(
    served: list[tuple[Any, ServerSettings]], tmp_path: Path, content: str, told: str
) -> None:
    """Before the models load, not at the first chat."""
    (tmp_path / "template").write_text(content)
    code, output = invoke("--chat-template-file", str(tmp_path / "template"))
    assert (code, served) == (2, [])
    assert told in " ".join(output.replace("│", " ").split())


def test_keys_from_the_environment(served: list[tuple[Any, ServerSettings]]) -> None:
    assert invoke("--host", "0.0.0.0", SPECBRANCH_API_KEY="one two")[0] == 0
    assert served[0][1].api_keys == ("one", "two")


def test_an_open_address_needs_a_key(served: list[tuple[Any, ServerSettings]]) -> None:
    code, output = invoke("--host", "0.0.0.0")
    assert (code, served) == (2, [])
    assert "--api-key" in output
    assert invoke("--host", "0.0.0.0", "--insecure")[0] == 0
    assert len(served) == 1


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--port", "99999"), "65535"),
        (("--queue-size", "-1"), "--queue-size is -1"),
        (("--api-key", "two words"), "API key"),
        (("--api-key-file", "no/such/file"), "--api-key-file: no/such/file"),
        (("-md", "draft.gguf"), "-m"),
    ],
)
def test_wrong_options(
    served: list[tuple[Any, ServerSettings]], arguments: tuple[str, ...], word: str
) -> None:
    code, output = invoke(*arguments)
    assert (code, served) == (2, [])
    assert word in output


def test_a_port_that_is_taken_is_told() -> None:
    import specbranch_cpp

    (only,) = bind(ServerSettings(port=0))
    with only as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(specbranch_cpp.InvalidArgument, match=f"port {port}"):
            bind(ServerSettings(port=port))


def test_it_is_told_before_the_models_load(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Any] = []
    monkeypatch.setattr(command, "Engine", lambda *paths, **_: loaded.append(paths))
    (taken,) = bind(ServerSettings(port=0))
    with taken:
        taken.listen()
        port = taken.getsockname()[1]
        code, output = invoke("--port", str(port))
    assert (code, loaded) == (2, [])
    assert f"cannot listen on host '127.0.0.1', port {port}" in output


def test_nothing_is_bound_after_models_that_do_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = bind(ServerSettings(port=0))
    monkeypatch.setattr(sys.modules[bind.__module__], "bind", lambda _: bound)

    def fail(*_: Any, **__: Any) -> None:
        raise ModelLoadError("a model that does not load")

    monkeypatch.setattr(command, "Engine", fail)
    assert invoke()[0] == 1
    assert [each.fileno() for each in bound] == [-1]


def test_a_port_that_is_taken_while_the_models_load(pair: tuple[Path, Path]) -> None:
    """Two processes may bind a port on which none listens yet."""
    (ours,) = bind(ServerSettings(port=0))
    settings = ServerSettings(port=ours.getsockname()[1])
    (theirs,) = bind(settings)
    with theirs, Engine(*pair, n_threads=1, measure_costs=False) as engine:
        theirs.listen()
        with pytest.raises(InvalidArgument, match=f"cannot listen on .*port {settings.port}"):
            serve(engine, settings, listeners=[ours])
    assert ours.fileno() == -1


def test_a_missing_package_is_named(python: RunPython) -> None:
    output = python(
        """
import sys
sys.modules["fastapi"] = None
from specbranch_cpp import MissingExtra
try:
    import specbranch_cpp.server
except MissingExtra as error:
    print(error)
"""
    )
    assert output.strip() == 'the server needs fastapi: pip install "specbranch_cpp[server]"'
