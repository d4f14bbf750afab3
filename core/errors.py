"""The error tree. An error says what, which, expected, found, and carries its verdict in its class.

ChainworkdError
├── Transient                 the same step may succeed later; the supervisor waits and starts the service again
│   ├── RpcUnavailable        no usable answer: connection, HTTP status, truncated body
│   │   ├── RpcTimedOut       none within the deadline
│   │   └── RpcLimited        too many requests for the endpoint
│   ├── RpcRefused            the node answered with a JSON-RPC error
│   ├── BadAnswer             the node's answer contradicts its specification or itself
│   │   └── Unverified         a block that does not pass a check: incomplete, or not what its hash is of
│   ├── CursorMoved           another writer advanced or rewound the chain first
│   ├── SeamBroken            fetched blocks do not join the stored ones (yet)
│   ├── Stalled               nothing is committed although there are newer blocks: the source starts over
│   ├── StoreUnavailable      the database does not answer
│   └── ProjectionFailed      something derived from facts has a defect; what it derives from goes on
└── Fatal                     a person has to act; the process ends
    ├── BadConfig             settings are wrong or contradict what they describe: exit 78
    ├── WrongChain            a node or a database belongs to another chain than configured: exit 78
    └── ServiceEnded          a service that should never return has returned: exit 1
"""

from core.types import BlockRef


class ChainworkdError(Exception):
    """Base of every error this program raises on purpose."""


class Transient(ChainworkdError):
    """May succeed later without anybody's help."""


class Fatal(ChainworkdError):
    """Will not succeed without a person's help."""

    exit_code = 1


class RpcUnavailable(Transient):
    """No usable answer from the endpoint."""


class RpcTimedOut(RpcUnavailable):
    """No answer from the endpoint within the deadline of one request."""


class RpcLimited(RpcUnavailable):
    """The endpoint asks for fewer requests; `retry_s` is how long it wants to be left alone, if it said."""

    def __init__(self, message: str, retry_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_s = retry_s


class RpcRefused(Transient):
    """The node answered with a JSON-RPC error object.

    `code` and `message` are the node's own (JSON-RPC 2.0 section 5.1); `method` is the call it refused. `data` is what
    a reverted call gave as its reason, if the node passes that on; empty otherwise.
    """

    def __init__(self, host: str, method: str, code: int, message: str, data: bytes = b"") -> None:
        super().__init__(f"{host}: {method} refused: {code} {message[:300]}")
        self.method = method
        self.code = code
        self.message = message
        self.data = data

    @property
    def reverted(self) -> bool:
        """Whether a call was carried out and the contract refused (code 3 is geth's; others only say so)."""
        return self.code == 3 or bool(self.data) or "revert" in self.message.lower()

    @property
    def unsupported(self) -> bool:
        """Whether the node does not know the method at all (-32601, JSON-RPC 2.0; -32004, EIP-1474)."""
        text = self.message.lower()
        # "header does not exist" is about a block; only what speaks of the method is about the method.
        named = "method" in text or self.method.lower() in text
        missing = ("does not exist", "not supported", "unsupported", "not available", "not found")
        return self.code in (-32601, -32004) or (named and any(words in text for words in missing))


class BadAnswer(Transient):
    """The node's answer is malformed or contradicts itself; another try, or another node, may do better."""


class Unverified(BadAnswer):
    """A block does not pass a check (core/verify/checks.py).

    `check` is its name, `which` what of the block it is about; `expected` follows from the rest of the block, `found`
    is what the node sent. `endpoint` names the node without anything secret, once it is known.
    """

    def __init__(self, at: BlockRef, check: str, which: str, expected: str, found: str) -> None:
        super().__init__(f"block {at} fails {check}: {which} is {_short(found)}, expected {_short(expected)}")
        self.at = at
        self.check = check
        self.which = which
        self.expected = expected
        self.found = found
        self.endpoint = ""


class CursorMoved(Transient):
    """The compare-and-set on a chain's cursor failed: somebody else wrote first."""


class SeamBroken(Transient):
    """A fetched range does not join the stored blocks beside it."""


class Stalled(Transient):
    """Nothing was committed for too long although the chain has newer blocks, and no error says why."""


class StoreUnavailable(Transient):
    """The database cannot be reached or ended the connection."""


class ProjectionFailed(Transient):
    """A projection could not apply or undo a fact: it stands still there and is tried again; nobody else is stopped."""


class BadConfig(Fatal):
    """Settings are wrong, or what they name is not what they say."""

    exit_code = 78


class WrongChain(Fatal):
    """A node or a database belongs to another chain than configured."""

    exit_code = 78


class ServiceEnded(Fatal):
    """A service returned although it should run for ever."""


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}…"
