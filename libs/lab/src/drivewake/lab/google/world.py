"""The simulated Google as one object: state, grants, quota, push and ledger behind one clock.

Tests use it in process; the web application (`app.py`) is a face on it. It is not thread
safe: touch it from the loop that serves it (`RunningGoogle.call` does).
"""

import time
from collections.abc import Callable, Iterable

import msgspec

from drivewake.lab.google.grants import Client, Grants
from drivewake.lab.google.ledger import ChangeFact, Ledger
from drivewake.lab.google.model import Change, User
from drivewake.lab.google.profiles import PROFILES, Profile
from drivewake.lab.google.push import Push
from drivewake.lab.google.quota import Quota
from drivewake.lab.google.state import DriveState

DEFAULT_CLIENT_ID = "000000000000-simulated.apps.googleusercontent.com"
DEFAULT_CLIENT_SECRET = "GOCSPX-simulated"  # noqa: S105 - a public secret of a simulated client


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How to start a simulated Google.

    `issuer` is what id tokens and the discovery document say; Google's own client refuses
    any other than Google's. `https_only` refuses push addresses without TLS, loopback too.
    """

    seed: int = 0
    profile: Profile = PROFILES["relaxed"]
    access_ttl_s: int = 3599
    issuer: str = "https://accounts.google.com"
    https_only: bool = False
    client_id: str = DEFAULT_CLIENT_ID
    client_secret: str = DEFAULT_CLIENT_SECRET
    redirect_uris: tuple[str, ...] = ()
    users: tuple[str, ...] = ()


class SimulatedGoogle:
    """One Google. `now_ns` is the wall clock; nothing else is read from the machine."""

    def __init__(
        self, options: Options | None = None, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self.options = options or Options()
        self.now_ns = now_ns
        self.state = DriveState(self.options.seed)
        self.ledger = Ledger()
        self.grants = Grants(self.options.seed, self.options.access_ttl_s)
        self.quota = Quota(self.options.profile)
        self.push = Push(self.options.profile, self.ledger, now_ns, self.options.seed)
        self.refs: dict[str, str] = {}
        client = Client(
            self.options.client_id,
            self.options.client_secret,
            "simulated-project",
            self.options.redirect_uris,
        )
        self.grants.clients[client.client_id] = client
        for email in self.options.users:
            self.add_user(email)

    @property
    def now_ms(self) -> int:
        """Unix milliseconds."""
        return self.now_ns() // 1_000_000

    def add_user(self, email: str, name: str | None = None) -> User:
        """Create a user. Raises InvalidOperationError if it exists."""
        return self.state.add_user(email, name or email.partition("@")[0], self.now_ms)

    def record(self, changes: Iterable[Change]) -> None:
        """Write changes into the ledger and poke the channels of their logs."""
        for change in changes:
            self.ledger.add(ChangeFact(self.ledger.next_n, change.at_ns, *_facts(change)), "change")
            for log in change.logs:
                self.push.notify(log)


def _facts(change: Change) -> tuple[int, str, int, str, str, tuple[str, ...]]:
    return (
        change.seq,
        change.file_id,
        change.version,
        change.kind,
        change.actor,
        change.logs,
    )
