"""``sessionstreams doctor``: what it finds of servers that are well, old, locked, away or something else."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from loopback_server import LoopbackServer

from streams import commands, doctor

JSON = "application/json"


def told(answer: object) -> Callable[[], tuple[int, str, bytes]]:
    return lambda: (200, JSON, json.dumps(answer).encode())


def models(**limits: int | None) -> dict[str, Any]:
    known = {name: {"limit": {"context": each}} if each else {} for name, each in limits.items()}
    return {"providers": [{"id": "acme", "models": known}]}


@pytest.fixture
def server(loopback: LoopbackServer) -> LoopbackServer:
    """One that all is well with."""
    loopback.server.overrides["GET /global/health"] = told({"healthy": True, "version": "1.18.34"})
    loopback.server.overrides["GET /config/providers"] = told(models(small=8_000, large=200_000))
    return loopback


@pytest.fixture
def examined(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Status, and what was found by what was looked at; without the extras."""

    def examine(url: str, *arguments: str) -> tuple[int, dict[str, Any]]:
        status = commands.run(["doctor", url, "--json", *arguments])
        out, err = capfd.readouterr()
        assert err == ""
        report = json.loads(out)
        assert (report["url"], report["status"]) == (url, status)
        found = {each.pop("check"): each for each in report["findings"]}
        return status, {name: each for name, each in found.items() if not name.startswith("extra")}

    return examine


Examined = Callable[..., tuple[int, dict[str, Any]]]


def test_all_is_well(server: LoopbackServer, examined: Examined) -> None:
    """Status 0, and what there is; nothing is changed, and no history is asked for."""
    status, found = examined(server.url)
    assert (status, {each["state"] for each in found.values()}) == (0, {"ok"})
    assert found["version"]["found"] == "opencode 1.18.34"
    assert found["directory"]["found"].startswith("/home/dev/project;")
    assert found["limits of acme"]["found"] == "2 of 2 models: small 8,000, large 200,000"
    assert (
        server.server.bodies["POST /sync/history"] == "?"
    )  # which is refused: {} would bring all there is
    assert not any(path.startswith("/session") for path in server.seen)


def test_a_model_without_a_limit(server: LoopbackServer, examined: Examined) -> None:
    """Status 1, and what to give."""
    server.server.overrides["GET /config/providers"] = told(models(small=None, large=200_000))
    status, found = examined(server.url)
    assert (status, found["limits of acme"]["state"]) == (1, "limited")
    assert found["limits of acme"]["advice"].endswith("--limit acme/small=N")


def test_a_server_without_a_log(server: LoopbackServer, examined: Examined) -> None:
    """Status 1: what a lost connection costs there."""
    server.server.has_log = False
    status, found = examined(server.url)
    assert (status, found["log of events"]["state"]) == (1, "limited")
    assert "update opencode" in found["log of events"]["advice"]


def test_a_server_that_tells_neither_version_nor_limits(
    server: LoopbackServer, examined: Examined
) -> None:
    """An older one: what is known is told, what is missing named."""
    server.server.overrides.clear()
    status, found = examined(server.url)
    assert status == 1
    assert "does not tell" in found["version"]["found"]
    assert "--limit PROVIDER/MODEL=N" in found["limits"]["advice"]


@pytest.mark.parametrize(
    ("prepare",                                                  "advice"),
    [
        (lambda server: server.close(),                          "start it: opencode serve"),
        (lambda server: setattr(server, "password", "x"),        "set OPENCODE_SERVER_PASSWORD"),
        (lambda server: setattr(server, "redirect", "/else"),    "this is no opencode server"),
    ],
)  # fmt: skip
def test_a_server_that_cannot_be_used(
    server: LoopbackServer, examined: Examined, prepare: Callable[[LoopbackServer], None], advice: str
) -> None:
    """Status 2; what follows from it is not looked at."""
    prepare(server)
    status, found = examined(server.url)
    assert (status, list(found)) == (2, ["event stream"])
    assert advice in found["event stream"]["advice"]


def test_a_password(server: LoopbackServer, examined: Examined) -> None:
    """It is sent."""
    server.password = "secret"
    assert examined(server.url, "--password", "secret")[0] == 0


def test_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing says what it would be for, and is no fault."""
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name == "ray" else object())
    found = {each.check: each for each in doctor.extras()}
    assert found["extra cluster"].advice.endswith("pip install 'sessionstreams[cluster]'")
    assert {each.state for each in found.values()} == {"ok", "absent"}


def test_lines_for_a_person(server: LoopbackServer, capfd: pytest.CaptureFixture[str]) -> None:
    """One line per check, its advice under it."""
    server.server.overrides["GET /config/providers"] = told(models(small=None))
    assert commands.run(["doctor", server.url]) == 1
    out, err = capfd.readouterr()
    assert err == ""
    assert "ok  version              opencode 1.18.34\n" in out
    assert "!   limits of acme       0 of 1 models\n" in out
    assert f"{'':<24} no ratios, warnings and compactions without: --limit acme/small=N\n" in out


def test_an_address_that_is_none(capfd: pytest.CaptureFixture[str]) -> None:
    """One line, status 2."""
    assert commands.run(["doctor", "localhost"]) == 2
    out, err = capfd.readouterr()
    assert (out, err) == (
        "",
        "sessionstreams: base_url must be like http://127.0.0.1:4096, got 'localhost'\n",
    )
