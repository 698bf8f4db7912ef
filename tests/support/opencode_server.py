"""opencode itself, from npm, in a home of its own, with the scripted model as its providers."""

import json
import os
import platform
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

VERSION = "1.18.34"
"""The version that the recordings were made with."""

CACHE = Path(__file__).parents[2] / ".cache" / "opencode"
SECONDS_TO_START = 60.0
SECONDS_TO_INSTALL = 300.0

LIMITS = {
    "kestrel-large": {"context": 200_000, "output": 8_000},
    "kestrel-small": {"context": 20_000, "output": 2_000},
}


class NotInstalled(Exception):
    """opencode is not here and cannot be fetched; the message says why."""


def install() -> Path:
    """The path of the binary; fetched from npm once, into a directory that git ignores."""
    system = {"Linux": "linux", "Darwin": "darwin", "Windows": "windows"}.get(platform.system(), "")
    machine = {"x86_64": "x64", "AMD64": "x64"}.get(platform.machine(), "arm64")
    package = f"opencode-{system}-{machine}"
    home = CACHE / VERSION
    binary = home / "node_modules" / package / "bin" / "opencode"
    if binary.exists():
        return binary
    home.mkdir(parents=True, exist_ok=True)
    command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(home), f"{package}@{VERSION}"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS_TO_INSTALL, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"npm install {package}@{VERSION}: {error}") from None
    if done.returncode or not binary.exists():
        complaint = (done.stderr or done.stdout).strip().splitlines()
        reason = next((line for line in complaint if " code " in line), (complaint or [""])[-1])
        raise NotInstalled(f"npm install {package}@{VERSION}: {reason}")
    return binary


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class OpencodeServer:
    """One server: started, killed and started again on the same port with the same data.

    Args:
        root: A directory of its own: home and project live in it.
        model_url: Where the providers ``acme`` (OpenAI's wire) and ``anthropic`` ask.
        config: Merged over the default configuration (``permission``, say).
        password: Asked of clients, if given.
    """

    def __init__(
        self,
        root: Path,
        model_url: str,
        *,
        config: dict[str, Any] | None = None,
        password: str = "",
    ) -> None:
        self.home = root / "home"
        self.project = root / "project"
        self.port = free_port()
        self.password = password
        self._process: subprocess.Popen[str] | None = None
        self._log: list[str] = []
        self._binary = install()
        self.home.mkdir(parents=True)
        self._make_project()
        directory = self.home / ".config" / "opencode"
        directory.mkdir(parents=True)
        text = json.dumps(_config(model_url) | (config or {}))
        (directory / "opencode.json").write_text(text)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return "".join(self._log)

    def start(self) -> "OpencodeServer":
        """Start it; returns when it says that it listens: before that, requests hang for ever."""
        command = [str(self._binary), "serve", "--port", str(self.port), "--hostname", "127.0.0.1"]
        self._process = subprocess.Popen(
            command,
            cwd=self.project,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        listening = threading.Event()
        threading.Thread(target=self._read, args=(self._process, listening), daemon=True).start()
        if not listening.wait(SECONDS_TO_START) or self._process.poll() is not None:
            self.kill()
            raise TimeoutError(f"opencode did not start: {self.log}")
        return self

    def kill(self) -> None:
        """As a crash would: SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, with_signal: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(with_signal)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _read(self, process: "subprocess.Popen[str]", listening: threading.Event) -> None:
        output = process.stdout
        assert output is not None
        with output:
            for line in output:
                self._log.append(line)
                if "listening" in line:
                    listening.set()
        listening.set()

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        return kept | {
            "HOME": str(self.home),
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
            **({"OPENCODE_SERVER_PASSWORD": self.password} if self.password else {}),
        }

    def _make_project(self) -> None:
        self.project.mkdir(parents=True)
        (self.project / "notes.txt").write_text("one\ntwo\nthree\n")
        git = ["git", "-c", "user.name=dev", "-c", "user.email=dev@example.com"]
        for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "start"]):
            subprocess.run([*git, *command], cwd=self.project, check=True, capture_output=True)


def _config(model_url: str) -> dict[str, Any]:
    def provider(package: str) -> dict[str, Any]:
        models = {
            name: {"name": name, "tool_call": True, "limit": limit} for name, limit in LIMITS.items()
        }
        return {
            "npm": package,
            "options": {"baseURL": model_url, "apiKey": "none"},
            "models": models,
        }

    return {
        "$schema": "https://opencode.ai/config.json",
        "autoupdate": False,
        "share": "disabled",
        "model": "acme/kestrel-large",
        "small_model": "acme/kestrel-large",
        "provider": {
            "acme": provider("@ai-sdk/openai-compatible"),
            "anthropic": provider("@ai-sdk/anthropic"),
        },
    }
