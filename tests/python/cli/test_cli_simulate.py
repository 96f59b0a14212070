"""`specbranch simulate`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from specbranch_cpp import cli, simulation

RUN = CliRunner()
FEW = ["--tokens", "60"]


def test_table_of_all_modes() -> None:
    done = RUN.invoke(cli.app, ["simulate", "--machine", "two-cores", *FEW])
    assert done.exit_code == 0, done.output
    for mode in simulation.MODES:
        assert mode in done.output
    assert "speed-up" in done.output


def test_json() -> None:
    done = RUN.invoke(
        cli.app,
        ["simulate", "--json", "--alpha", "0.9", "--ratio", "10", "--slowdown", "1.5",
         "--latency-us", "300", "--hop-us", "7", *FEW],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    content = json.loads(done.output)
    assert [one["setting"]["mode"] for one in content["results"]] == list(simulation.MODES)
    assert content["results"][0]["speedup"] == pytest.approx(1.0)
    assert content["pair"]["alpha"] == 0.9
    assert content["pair"]["draft_us"] == 2000.0
    machine = content["machine"]
    assert machine["target_slowdown"] == machine["draft_slowdown"] == 1.5
    assert (machine["target_latency_us"], machine["hop_us"]) == (300.0, 7.0)


def test_profile(tmp_path: Path) -> None:
    path = tmp_path / "pair.json"
    path.write_text(json.dumps({"costs": {"target_us": [900.0], "draft_us": [90.0]}}))
    done = RUN.invoke(cli.app, ["simulate", "--json", "--profile", str(path), *FEW])
    assert json.loads(done.stdout)["pair"]["target_us"] == [900.0]


def test_how_much_a_profile_knows_of_the_draft(tmp_path: Path) -> None:
    path = tmp_path / "pair.json"

    def told(n: float, *more: str) -> tuple[str, str]:
        content = {
            "costs": {"target_us": [900.0], "draft_us": [90.0]},
            "acceptance": [{"first_count": n, "first_hits": 0.75 * n}],
        }
        path.write_text(json.dumps(content))
        done = RUN.invoke(cli.app, ["simulate", "--profile", str(path), *FEW, *more])
        assert done.exit_code == 0, done.output
        return done.stdout, done.stderr

    text = "the acceptance rate of the profile, 0.75, is that of about"
    assert f"{text} 80 positions" in told(80.0)[0]
    assert told(80.0)[1] == ""
    assert json.loads(told(80.0, "--json")[0])["pair"]["alpha"] == 0.75
    for more in ([], ["--json"]):
        assert f"{text} 12 positions; give another one with --alpha" in told(12.2, *more)[1]
        assert "no acceptance rate, so 0.7 is assumed; give another" in told(0.0, *more)[1]
        assert told(12.2, "--alpha", "0.5", *more)[1] == ""


def test_several_clients() -> None:
    arguments = ["simulate", "--clients", "1,4", "--alpha", "0.85", *FEW]
    done = RUN.invoke(cli.app, arguments)
    assert done.exit_code == 0, done.output
    assert done.output.count("autoregressive") == done.output.count("auto ") == 2
    done = RUN.invoke(cli.app, [*arguments, "--json"])
    rows = json.loads(done.output)["results"]
    assert [(row["clients"], row["mode"]) for row in rows] == [
        (1, "autoregressive"), (1, "auto"), (4, "autoregressive"), (4, "auto"),
    ]  # fmt: skip
    assert rows[2]["tokens_per_s"] > 3 * rows[0]["tokens_per_s"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--clients", "1,two"], "'two' is not a whole number"),
        (["--clients", "1,65"], "--clients has 65; 1 to 64"),
        (["--clients", "2", "--plot", "x.png"], "--plot draws one client"),
        (["--machine", "moon"], "--machine is 'moon'"),
        (["--alpha", "2"], "--alpha is 2"),
        (["--ratio", "0"], "--ratio is 0"),
        (["--ratio", "inf"], "--ratio is inf; it must be above 0 and finite"),
        (["--ratio", "1e-300"], "--ratio is 1e-300, so a draft step takes"),
        (["--target-ms", "-1"], "--target-ms is -1; it must be above 0"),
        (["--target-ms", "nan"], "--target-ms is nan; it must be above 0"),
        (["--slowdown", "0.5"], "--slowdown is 0.5"),
        (["--latency-us", "-1"], "--latency-us is -1"),
        (["--hop-us", "nan"], "--hop-us is nan"),
        (["--tokens", "0"], "--tokens is 0"),
        (["--seed", "-1"], "--seed is -1"),
        (["--plot", "x.svg"], "--plot is 'x.svg'; its name must end in .png"),
        (["--profile", "none.json", "--ratio", "3"], "do not give --ratio"),
        (["--profile", "none.json"], "--profile 'none.json' cannot be read: No such file"),
        (["--profile", "/"], "--profile '/' cannot be read: it is a folder"),
    ],
)
def test_bad_usage(arguments: list[str], message: str) -> None:
    done = RUN.invoke(cli.app, ["simulate", *FEW, *arguments])
    assert done.exit_code == 2
    assert message in done.output


def test_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(simulation, "settings", lambda mode: [simulation.Setting(mode, 4, 0.4, 2)])
    path = tmp_path / "gain.png"
    done = RUN.invoke(cli.app, ["simulate", "--plot", str(path), *FEW])
    assert done.exit_code == 0, done.output
    assert path.read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = RUN.invoke(cli.app, ["simulate", "--plot", str(tmp_path / "gain.png")])
    assert done.exit_code == 1
    assert "specbranch_cpp[plot]" in done.output
