"""PostgreSQL URLs: read once, shown without their secrets, and translated for programs that are not asyncpg."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from core.errors import BadConfig

SCHEMES: Final = ("postgresql", "postgres")
PORT: Final = 5432


@dataclass(frozen=True, slots=True)
class Dsn:
    """The parts of a `postgresql://` URL. `host` is a name, an address, or the folder of a unix socket."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        """Return the URL without user, password and options, fit for logs and errors."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"postgresql://{host}:{self.port}/{self.database}"

    @property
    def local(self) -> bool:
        """Whether the server is reached through a unix socket."""
        return self.host.startswith("/")

    @property
    def sslmode(self) -> str | None:
        """Return the sslmode the URL names, if it names one."""
        return dict(self.query).get("sslmode")

    def url(self, **options: str) -> str:
        """Return a URL that asyncpg, libpq and Go's pq all read alike; `options` override the query's."""
        query = dict(self.query) | options
        login = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}@" if self.user else ""
        where = "" if self.local else str(self).removeprefix("postgresql://").rpartition("/")[0]
        if self.local:
            query |= {"host": self.host, "port": str(self.port)}
        # quote_via: Go reads "+" in a query as a blank, libpq does not.
        text = urlencode(query, quote_via=quote, safe="/")
        return f"postgres://{login}{where}/{quote(self.database, safe='')}" + (f"?{text}" if text else "")

    def libpq(self) -> dict[str, str]:
        """Return the environment that tells libpq's programs the same, so that no secret is on a command line."""
        named = {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGDATABASE": self.database,
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGSSLMODE": self.sslmode or "",
        }
        return {name: value for name, value in named.items() if value}

    def clean(self, text: str) -> str:
        """Return `text` with every form of the password replaced."""
        for secret in {self.password, quote(self.password, safe=""), quote(self.password)} - {""}:
            text = text.replace(secret, "***")
        return text


def parse(url: str) -> Dsn:
    """Read a PostgreSQL URL. Raises BadConfig, whose text and cause never repeat the URL.

    Expected: postgresql://user:password@host:port/database, or postgresql://user:password@/database?host=/folder.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        port = port or int(query.pop("port", PORT))
    except ValueError:
        # Python's own message quotes the part it stumbled over, which may be a piece of the password.
        raise BadConfig("database url: not a URL (is a sign in the password not percent-encoded?)") from None
    host = _host(parts) or query.pop("host", "")
    database = unquote(parts.path.removeprefix("/"))
    if parts.scheme not in SCHEMES:
        raise BadConfig(f"database url: expected postgresql://…, found scheme {parts.scheme[:20] or 'none'!r}")
    if not host or not database:
        raise BadConfig("database url: expected a host (or ?host=/socket/folder) and a database name, found one empty")
    user = unquote(parts.username or "") or query.pop("user", "")
    password = unquote(parts.password or "") or query.pop("password", "")
    return Dsn(host, port, database, user, password, tuple(query.items()))


def _host(parts: SplitResult) -> str:
    """Return the host with its case kept: it may be the percent-encoded folder of a socket."""
    text = parts.netloc.rpartition("@")[2]
    return (parts.hostname or "") if text.startswith("[") else unquote(text.partition(":")[0])


def local_url(folder: Path, *, user: str, password: str, database: str) -> str:
    """Return the URL of a server behind the unix socket in `folder`.

    Port and sslmode are spelled out so that PGPORT and PGSSLMODE in the environment change nothing.
    """
    dsn = Dsn(str(folder), PORT, database, user, password, (("sslmode", "disable"),))
    return dsn.url().replace("postgres://", "postgresql://", 1)
