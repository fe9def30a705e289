"""A PostgreSQL server for the tests: started once where its programs are found, with a fresh place for each asker."""

import glob
import importlib.util
import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

USER = "offramp"
INITDB = "--auth trust --encoding UTF8 --no-sync"
KEYED = "keyed"
"""A user who must show a password."""
PASSWORD = "s3cret%/@word"
FOUND = (*glob.glob("/usr/lib/postgresql/*/bin"), *glob.glob("/usr/pgsql-*/bin"), "/opt/homebrew/bin")
MISSING = "needs PostgreSQL's programs (`apt install postgresql`) and its driver `psycopg[binary]`"


def programs() -> Path | None:
    """Return the folder of the newest server's programs."""
    on_path = shutil.which("postgres")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += [Path(one) for one in sorted(FOUND, key=_version, reverse=True)]
    return next((one for one in folders if (one / "initdb").exists() and (one / "postgres").exists()), None)


def _version(folder: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", folder)]


class Server:
    """A server on this machine's loopback; it can be stopped, killed and frozen as the tests please."""

    def __init__(self, bin_folder: Path, folder: Path) -> None:
        self._bin, self._data = bin_folder, folder / "data"
        # It refuses to run as root.
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._made = 0
        self.process: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        """Make the data folder and start."""
        command = [self._bin / "initdb", "-D", self._data, "--username", USER, *INITDB.split()]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", **self._as)
        rules = f"host all {KEYED} 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
        (self._data / "pg_hba.conf").write_text(rules)
        self.start()
        self.run(f"CREATE ROLE {KEYED} LOGIN PASSWORD '{PASSWORD}'")

    def start(self) -> None:
        """Listen; returns when it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "shared_buffers": "16MB",
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self._data.parent / "log").open("ab") as log:
            command = [self._bin / "postgres", "-D", self._data, *words]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **self._as)
        until = time.monotonic() + 30
        while not self._answers():
            assert self.process.poll() is None and time.monotonic() < until, self.log()
            time.sleep(0.02)

    def stop(self, *, how: int = 2) -> None:
        """End it: by default at once but cleanly (SIGINT)."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(30)
            self.process = None

    def pids(self) -> list[int]:
        """Return every process of the server, the first one first."""
        assert self.process is not None
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def log(self) -> str:
        return (self._data.parent / "log").read_text(errors="replace")

    def run(self, statement: str, database: str = "postgres") -> None:
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(statement)

    def url(self, database: str, *, user: str = USER) -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def database(self, more: str = "") -> str:
        """Make an empty database, and return its URL."""
        self._made += 1
        name = f"calls_{self._made}"
        self.run(f"CREATE DATABASE {name} TEMPLATE template0 {more}")
        return self.url(name)

    def place(self, *, user: str = USER, more: str = "") -> str:
        """Make an empty schema, which takes a hundredth of the time, and return the URL of a database that is it."""
        self._made += 1
        name = f"calls_{self._made}"
        self.run(f"CREATE SCHEMA {name} AUTHORIZATION {user.partition(':')[0]}")
        return f"{self.url('postgres', user=user)}?options=-csearch_path%3D{name}{more}"

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def server() -> Iterator[Server | None]:
    """Run a server; `None` where its programs are missing."""
    found = programs()
    if found is None or importlib.util.find_spec("psycopg") is None:
        yield None
        return
    # Not pytest's folder, whose parents only its owner may enter.
    with tempfile.TemporaryDirectory(prefix="offramp-postgres-") as folder:
        made = Server(found, Path(folder))
        try:
            made.make()
            yield made
        finally:
            made.stop(how=3)
