"""A PostgreSQL server of a test's own, on loopback, that can be killed and started again."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

PASSWORD = "s3cr:t/@?"
QUOTED = "s3cr%3At%2F%40%3F"
PATIENCE = 60.0


def programs() -> Path | None:
    """Where the newest ``initdb`` and ``postgres`` are."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"),
        key=lambda path: int(path.parts[-3].split(".")[0]),
    )
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


class PostgresServer:
    """One cluster in a temporary directory.

    Args:
        folder_of_programs: Where the programs are.
        options: Settings of the server; ``fsync=off`` by default, since no test takes the machine's power.
    """

    def __init__(self, folder_of_programs: Path, *options: str) -> None:
        self._bin = folder_of_programs
        self._options = options or ("fsync=off",)
        self.folder = Path(tempfile.mkdtemp(prefix="sessionstreams-postgres-"))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None
        password = self.folder / "password"
        password.write_text(PASSWORD)
        if os.getuid() == 0:
            for path in (self.folder, password):
                shutil.chown(path, "postgres", "postgres")
        self._run(
            "initdb", "-D", str(self.folder / "data"), "-U", "postgres", "-E", "UTF8", "--locale=C",
            "--auth=scram-sha-256", f"--pwfile={password}", "--no-sync",
        )  # fmt: skip

    def url(self, database: str = "postgres", *, user: str = "postgres", password: str = QUOTED) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start, or start again after a kill; returns when it answers."""
        until = time.monotonic() + PATIENCE
        options = [f"-c{each}" for each in self._options]
        command = self._command(
            "postgres", "-D", str(self.folder / "data"), "-p", str(self.port), "-clisten_addresses=127.0.0.1",
            f"-cunix_socket_directories={self.folder}", *options,
        )  # fmt: skip
        while True:
            if self.process is None or self.process.poll() is not None:
                log = (self.folder / "log").open("ab")
                with log:  # what a killed one left running must end first
                    self.process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
            ready = self._command("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port))
            if subprocess.run(ready, check=False, cwd=self.folder).returncode == 0:
                return
            if time.monotonic() > until:
                raise TimeoutError((self.folder / "log").read_text()[-2000:])

    def kill(self) -> None:
        """kill -9 of the postmaster: its children see it and end."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def close(self) -> None:
        if self.process is not None:
            self.process.terminate()  # waits for the connections: tests have closed theirs
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, *words: str) -> None:
        done = subprocess.run(
            self._command(*words), capture_output=True, text=True, cwd=self.folder, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stderr)

    def _command(self, program: str, *words: str) -> list[str]:
        """PostgreSQL refuses to be root."""
        drop: Any = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        return [*(drop if os.getuid() == 0 else []), str(self._bin / program), *words]
