"""JSON text to places of fields, without making objects of them: compiled.

A buffer holds JSON text with PAD zero bytes behind it: no loop runs past a zero, and a field of fixed size may be
looked at without asking whether the text is that long. A span is (start, end) of a field's text in the buffer: of a
string what is between its quotes, of other values the value as it stands. ABSENT and NULL take the place of a start.

Every function raises ValueError for text that is no JSON, and for JSON that nodes do not send: escapes, characters
beyond ASCII, a field twice, a value of another type.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from indexer.compiled.native import compiled

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]

PAD: Final = 600
ABSENT: Final = -1
NULL: Final = -2
DEEPEST: Final = 60

QUOTE, COMMA, COLON, OPEN, CLOSE, OPEN_LIST, CLOSE_LIST = (ord(each) for each in '",:{}[]')
MINUS, PLUS, DOT, ZERO, NINE = (ord(each) for each in "-+.09")
WORDS: Final = np.frombuffer(b"nulltruefalse", np.uint8)

# What may stand in a string as it is; quote, backslash, control characters and what is no ASCII may not.
PLAIN: Final = np.array([0x20 <= c < 0x7F and c not in b'"\\' for c in range(256)])
BLANK: Final = np.array([c in b" \t\r\n" for c in range(256)])


class Names:
    """Fields of one kind of object, in the order of their spans: `texts` first, then what is kept as it stands.

    `sizes` of texts are lengths that they have nearly always, 0 for others.
    """

    def __init__(self, texts: dict[str, int], others: Sequence[str]) -> None:
        names = [*texts, *others]
        self.count = len(names)
        self.texts = len(texts)
        self.sizes = np.array(list(texts.values()), np.int64)
        # Each with its closing quote, so that no name is the beginning of another.
        self.letters = np.frombuffer("".join(f'{name}"' for name in names).encode(), np.uint8)
        self.starts = np.cumsum([0, *(len(name) + 1 for name in names)])
        self.index = {name: place for place, name in enumerate(names)}

    @property
    def table(self) -> tuple[Bytes, npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
        """What the compiled functions want."""
        return self.letters, self.starts, self.sizes, self.texts


@compiled
def blank(buf: Bytes, at: int) -> int:
    """Return the first place from `at` that is not blank."""
    while BLANK[buf[at]]:
        at += 1
    return at


@compiled
def after(buf: Bytes, at: int, mark: int) -> int:
    """Return the first place that is not blank behind `mark`, which must come next."""
    at = blank(buf, at)
    if buf[at] != mark:
        raise ValueError("not the JSON that was expected")
    return blank(buf, at + 1)


@compiled
def text_end(buf: Bytes, at: int) -> int:
    """Return the place of the quote that ends the string whose first character is at `at`."""
    while PLAIN[buf[at]]:
        at += 1
    if buf[at] != QUOTE:
        raise ValueError("a string with an escape or beyond ASCII, or without an end")
    return at


@compiled
def is_word(buf: Bytes, at: int, letters: Bytes, start: int, end: int) -> bool:
    """Whether the letters from `start` to `end` stand at `at`."""
    for i in range(end - start):
        if buf[at + i] != letters[start + i]:
            return False
    return True


@compiled
def is_null(buf: Bytes, at: int) -> bool:
    """Whether null stands at `at`."""
    return is_word(buf, at, WORDS, 0, 4)


@compiled
def is_false(buf: Bytes, at: int) -> bool:
    """Whether false stands at `at`."""
    return is_word(buf, at, WORDS, 8, 13)


@compiled
def digits_end(buf: Bytes, at: int) -> int:
    """Return the place behind one digit or more."""
    if not ZERO <= buf[at] <= NINE:
        raise ValueError("not a JSON value")
    while ZERO <= buf[at] <= NINE:
        at += 1
    return at


@compiled
def number_end(buf: Bytes, at: int) -> int:
    """Return the place behind a JSON number. Source: RFC 8259, section 6."""
    if buf[at] == MINUS:
        at += 1
    at = at + 1 if buf[at] == ZERO else digits_end(buf, at)
    if buf[at] == DOT:
        at = digits_end(buf, at + 1)
    if buf[at] | 0x20 == 0x65:  # e, E
        at += 1
        if buf[at] == PLUS or buf[at] == MINUS:
            at += 1
        at = digits_end(buf, at)
    return at


@compiled
def scalar_end(buf: Bytes, at: int) -> int:
    """Return the place behind a string, a number, true, false or null."""
    if buf[at] == QUOTE:
        return text_end(buf, at + 1) + 1
    if is_null(buf, at) or is_word(buf, at, WORDS, 4, 8):
        return at + 4
    return at + 5 if is_false(buf, at) else number_end(buf, at)


@compiled
def member(buf: Bytes, at: int, in_object: int) -> int:
    """Return where the value of a member that begins at `at` begins: behind its name, if it is one of an object."""
    if not in_object:
        return at
    if buf[at] != QUOTE:
        raise ValueError("a field without a name")
    return after(buf, text_end(buf, at + 1) + 1, COLON)


@compiled
def value_end(buf: Bytes, at: int) -> int:
    """Return the place behind the JSON value that begins at `at`, however it is nested."""
    depth, objects = 0, 0  # `objects` has a bit for each open bracket, the innermost lowest: 1 for an object
    while True:
        if buf[at] == OPEN or buf[at] == OPEN_LIST:
            depth, objects = depth + 1, objects << 1 | int(buf[at] == OPEN)
            if depth > DEEPEST:
                raise ValueError("values nested too deeply")
            at = blank(buf, at + 1)
            if buf[at] != CLOSE and buf[at] != CLOSE_LIST:
                at = member(buf, at, objects & 1)
                continue
        else:
            at = scalar_end(buf, at)
        while depth:
            at = blank(buf, at)
            if buf[at] == COMMA:
                at = member(buf, blank(buf, at + 1), objects & 1)
                break
            if buf[at] != (CLOSE if objects & 1 else CLOSE_LIST):
                raise ValueError("a bracket without its counterpart")
            at, depth, objects = at + 1, depth - 1, objects >> 1
        else:
            return at
