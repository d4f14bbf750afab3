"""What a provider's refusal means: a table of texts and codes, read from the most telling to the least.

There is no standard for these. EIP-1474 names some codes, providers use others, and the same code means different
things in different places, so texts are looked at before codes. Where each text is known from stands in
tests/unit/refusals.toml, which is also what this table is tested against.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from core.errors import RpcRefused


class Kind(StrEnum):
    """What to do about a refusal; the value is a metric's label."""

    LIMITED = "limited"  # too many requests: the same one will do later
    RANGE = "range"  # more blocks than the endpoint takes, whatever is in them
    RESULTS = "results"  # the answer would be too large, or take too long: fewer blocks may do
    BATCH = "batch"  # too many calls in one batch
    BEHIND = "behind"  # a block the endpoint does not have yet
    PRUNED = "pruned"  # blocks or receipts the endpoint does not have any more (EIP-4444)
    STATE = "state"  # the same for state: eth_call at an old block
    UNSUPPORTED = "unsupported"  # a method the endpoint does not offer
    DENIED = "denied"  # a key that is wrong, spent or missing
    OVERLOADED = "overloaded"  # the endpoint's own trouble
    OTHER = "other"  # the call's own fault, such as a revert: no endpoint will answer it otherwise


ELSEWHERE: Final = frozenset(
    {Kind.BEHIND, Kind.PRUNED, Kind.STATE, Kind.UNSUPPORTED, Kind.DENIED, Kind.OVERLOADED}
)  # what another endpoint may well answer


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal, understood. What the text does not say is None.

    `limit`: blocks (RANGE) or calls (BATCH) the endpoint takes at most. `suggested`: first and last block of a range
    that it promises to answer. `retry_s`: seconds to wait.
    """

    kind: Kind
    limit: int | None = None
    suggested: tuple[int, int] | None = None
    retry_s: float | None = None


_NUMBER: Final = r"([\d][\d,._]*k?)\b"

# A revert's reason is the contract's text: it may say "rate limit exceeded" and is not the provider's.
_REVERTED: Final = re.compile(r"^\s*(vm exception|execution (reverted|error)|out of gas|revert)", re.I)
_RESULTS: Final = re.compile(
    r"(query|logs?) (returned|matched).{0,40}(more than|exceed)|exceeds max results|too many (results|logs)"
    r"|response (size|is too|too|limit)|backend response too large|query (timeout|timed out|duration)|request timeout"
    r"|log response size|max results",
    re.I,
)
_BATCH: Final = re.compile(r"batch", re.I)
_BATCHLESS: Final = re.compile(r"^\D*(not (supported|allowed|enabled)|unsupported|disabled)\D*$", re.I)
_BATCH_MOST: Final = re.compile(
    rf"(?:more than|limit(?:ed)?(?: of| to| is)?|max(?:imum)?(?: of| is)?|exceed(?:s|ed)?)[ :=]*{_NUMBER}", re.I
)
_RANGE_MOST: Final = tuple(
    re.compile(pattern.replace("N", _NUMBER), re.I)
    for pattern in (
        r"maximum is set to N",
        r"max(?:imum)?\.? (?:allowed )?(?:block )?range(?: of| is)?[ :=]*N",
        r"max(?:imum)?(?: allowed)? number of requested blocks is N",
        r"limited to 0 - N blocks",
        r"limited to (?:a )?(?:max(?:imum)? of )?N(?: blocks?)?(?: range)?",
        r"up to an? N block range",
        r"allowed for your plan \(\d+ > N\)",
        r"at most N blocks",
        r"block range greater than N max",
        r"block range exceeds N",
        r"max is N blocks",
        r"smaller than size N",
        r"\(maximum N\)",
        r"maximum allowed is N blocks",
        r"too large, range: \d+, max: N",
        r"ranges over N blocks",
        r"blocks distance: N",
        r"range \d+ exceeds limit of N",
        r"narrow your filter: N",
    )
)
_RANGE: Final = re.compile(
    r"range.{0,30}(too (wide|large|big|high|long)|exceed|bigger|larger|greater|limit)|exceeds?.{0,30}range"
    r"|too many blocks|requested blocks|blocks distance|narrow your filter|limited to .{0,20}(range|blocks?)\b"
    r"|blocks? range|ranges over \d+ blocks|query must be smaller than|at most .{0,20}blocks",
    re.I,
)
_BEYOND: Final = re.compile(r"beyond (the )?(current )?head", re.I)
_SUGGESTED_HEX: Final = re.compile(r"\[\s*(0x[0-9a-f]+)\s*,\s*(0x[0-9a-f]+)\s*\]", re.I)
_SUGGESTED: Final = re.compile(r"retry with the range (\d+)-(\d+)", re.I)
_RETRY: Final = re.compile(r"(?:retry|try again|back ?off)\D{0,20}?(\d+(?:\.\d+)?) ?(ms|milliseconds|s\b|sec)", re.I)

_BY_TEXT: Final = tuple(
    (kind, re.compile(pattern, re.I))
    for kind, pattern in (
        (Kind.PRUNED, r"pruned history|history (is |has been )?(pruned|expired|unavailable|not available)"
                      r"|due to pruning|receipts? (is |are )?(not available|unavailable|pruned)"
                      r"|data before txnum|block (is |has )?(been )?(expired|pruned)"),
        (Kind.STATE, r"missing trie node|historical state|state pruning|state .{0,40}(not available|unavailable|pruned)"
                     r"|archive (node|data|request)"),
        (Kind.BEHIND, r"beyond (the )?(current )?head|out of range|header (for hash )?not found|unknown block"
                      r"|not available yet|blocks? specified in filter .{0,60}cannot be found"
                      r"|(?<!finalized )(?<!safe )block not found|unfinalized data"
                      r"|invalid block height|after last accepted block"),
        (Kind.UNSUPPORTED, r"method .{0,60}(whitelist|not (allowed|enabled|supported|available|found)|does not exist)"
                           r"|(unsupported|unknown) method|not whitelisted|method disabled"),
        (Kind.LIMITED, r"rate.?limit|too many (requests|connections)|request (rate|limit)"
                       r"|(throughput|compute units?).{0,40}(exceed|limit)"
                       r"|credits limited|over .{0,20} limit|throttl|rabbit hole|request count exceeded|limit exceeded"
                       r"|quota|exceeded .{0,60}(capacity|per second)|slow down"),
        (Kind.DENIED, r"unauthori[sz]ed|forbidden|(invalid|missing|bad) (api.?key|project|token|credential)"
                      r"|must be authenticated|access denied|payment required"),
        (Kind.OVERLOADED, r"no (backend|nodes available)|suitable provider|temporary internal error"
                          r"|backend .{0,30}(unavailable|unhealthy)|error forwarding request"
                          r"|deadline exceeded|service unavailable|node timeout|upstream|server is (too )?busy"
                          r"|request (timed out|timeout)"),
    )
)  # fmt: skip
# Codes alone: only where no text has decided. HTTP statuses are negative, as RpcRefused has them.
INTERNAL: Final = -32603  # JSON-RPC 2.0 "internal error"
NO_SUCH_TAG: Final = -39001  # execution-apis, block tags: `finalized` and `safe` name no block yet
_BY_CODE: Final = {
    4444: Kind.PRUNED,  # EIP-4444; geth, reth, Nethermind
    429: Kind.LIMITED, -429: Kind.LIMITED,  # Alchemy repeats the HTTP status in the error object
    -32005: Kind.LIMITED,  # EIP-1474 "limit exceeded"
    -32021: Kind.LIMITED, -32022: Kind.LIMITED,  # MegaETH: network traffic, compute units
    -32019: Kind.BEHIND,  # MegaETH: block is out of range
    -32020: Kind.RESULTS,  # MegaETH: backend response too large
    -32008: Kind.RESULTS, -32010: Kind.BATCH, -32011: Kind.BATCH,  # jsonrpsee: oversized answer, batch, batch answer
    -32012: Kind.RANGE, -32015: Kind.OVERLOADED,  # Goldsky
    -32614: Kind.RANGE,  # QuickNode
    -32001: Kind.BEHIND,  # EIP-1474 "resource not found"
    -32002: Kind.OVERLOADED,  # EIP-1474 "resource unavailable"
    INTERNAL: Kind.OVERLOADED,
    -32016: Kind.DENIED,  # Goldsky
    -32014: Kind.BEHIND,  # Goldsky: missing data, which a block may be that is new, or pruned
    -32007: Kind.LIMITED,  # QuickNode: requests a second
    -32090: Kind.LIMITED,  # Ankr
    402: Kind.DENIED,  # Infura repeats the HTTP status: the day's credits are spent
    -413: Kind.BATCH,  # HTTP: content too large; what we send large is batches
}  # fmt: skip


def classify(refused: RpcRefused) -> Refusal:
    """Say what a refusal means. What nobody knows is OTHER."""
    text = refused.message
    if refused.code in (3, NO_SUCH_TAG) or _REVERTED.search(text):  # 3: geth's code of a revert
        return Refusal(Kind.OTHER)
    # A batch that is refused as a whole is refused in the name of its first call, whatever its text is about.
    about_logs = refused.method == "eth_getLogs" or "eth_getlogs" in text.lower()
    if about_logs and (sized := _logs(text)):
        return sized
    if _BATCH.search(text) and not refused.unsupported:
        return _batch(text)
    kind = _kind(refused, about_logs)
    return Refusal(kind, retry_s=retry_s(text) if kind is Kind.LIMITED else None)


def _kind(refused: RpcRefused, about_logs: bool) -> Kind:
    for kind, pattern in _BY_TEXT:
        if pattern.search(refused.message):
            # "limit exceeded" is EIP-1474's text of -32005; of logs it is about the range as often as about the rate.
            if kind is Kind.LIMITED and about_logs and refused.message.strip().lower() == "limit exceeded":
                return Kind.RESULTS
            return kind
    if refused.unsupported:
        return Kind.UNSUPPORTED
    if _RESULTS.search(refused.message):
        return _sized(Kind.RESULTS, about_logs)
    return _by_code(refused, about_logs)


def _sized(kind: Kind, about_logs: bool) -> Kind:
    """An answer that is too large has too many logs in it, or too many calls."""
    return Kind.BATCH if kind is Kind.RESULTS and not about_logs else kind


def _by_code(refused: RpcRefused, about_logs: bool) -> Kind:
    if refused.code == INTERNAL and refused.method == "eth_call":
        return Kind.OTHER  # anvil and others answer so where the contract fails in another way than by a revert
    # An HTTP status is a page in the place of a node: a wrong path, or a spent key.
    unknown = Kind.DENIED if refused.code in range(-599, -399) else Kind.OTHER
    return _sized(_BY_CODE.get(refused.code, unknown), about_logs)


def _logs(text: str) -> Refusal | None:
    """Read what is said of a range of blocks, if anything is."""
    suggested = _suggested(text)
    # First: such a text may go on to name a range that is only a limit for those who want no limit of results.
    if _RESULTS.search(text):
        return Refusal(Kind.RESULTS, suggested=suggested)
    if _BEYOND.search(text) or _BATCH.search(text) or (suggested is None and not _RANGE.search(text)):
        return None
    limit = next((_number(found[1]) for pattern in _RANGE_MOST if (found := pattern.search(text))), None)
    return Refusal(Kind.RANGE, limit or None, suggested)


def _suggested(text: str) -> tuple[int, int] | None:
    if found := _SUGGESTED_HEX.search(text):
        first, last = int(found[1], 16), int(found[2], 16)
    elif found := _SUGGESTED.search(text):
        first, last = int(found[1]), int(found[2])
    else:
        return None
    return (first, last) if first <= last else None


def _batch(text: str) -> Refusal:
    if _BATCHLESS.search(text):
        return Refusal(Kind.BATCH, limit=1)
    found = _BATCH_MOST.search(text)
    return Refusal(Kind.BATCH, (_number(found[1]) or None) if found else None)


def retry_s(text: str) -> float | None:
    """Return the seconds to wait that a text names ("retry in 3 seconds", "backoff 250ms"), None if it names none."""
    found = _RETRY.search(text)
    if found is None:
        return None
    # A span of time, not money: the house's rule about floats is about amounts.
    whole, _, fraction = found[1].partition(".")
    seconds = int(whole) + (int(fraction) / 10 ** len(fraction) if fraction else 0.0)
    return seconds / 1000 if found[2].lower().startswith("m") else seconds


def _number(text: str) -> int:
    """Read "10,000", "2.000" or "10k"."""
    scale = 1_000 if text.lower().endswith("k") else 1
    return int(re.sub(r"\D", "", text)) * scale
