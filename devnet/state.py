"""The state file of anvil, as far as a restart has to mend it.

Each start of anvil with a state adds a block 0 of its own to what it writes (seen in the file of anvil 1.7.1). Which of
them it serves after the next start is chance: a chain of another genesis, to whoever has indexed it.
"""

from pathlib import Path

import msgspec


class _Header(msgspec.Struct):
    number: str
    timestamp: str


class _Block(msgspec.Struct):
    header: _Header


def keep_first_genesis(state: Path) -> None:
    """Leave of several blocks 0 the oldest. A file that is not there, or not as expected, is left as it is."""
    try:
        whole = msgspec.json.decode(state.read_bytes(), type=dict[str, msgspec.Raw])
        blocks = msgspec.json.decode(whole["blocks"], type=list[msgspec.Raw])
        headers = [msgspec.json.decode(block, type=_Block).header for block in blocks]
        ages = [int(header.timestamp, 16) if int(header.number, 16) == 0 else None for header in headers]
    except (OSError, KeyError, ValueError):  # of which msgspec's are; anvil itself says what is wrong with its file
        return
    first = min((age for age in ages if age is not None), default=None)
    kept = [block for block, age in zip(blocks, ages, strict=True) if age in (None, first)]
    if len(kept) == len(blocks):
        return
    whole["blocks"] = msgspec.Raw(msgspec.json.encode(kept))
    mended = state.with_name(state.name + ".mended")
    mended.write_bytes(msgspec.json.encode(whole))
    mended.replace(state)
