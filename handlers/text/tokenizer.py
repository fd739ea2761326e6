"""Tokenizers in service: text to ids, ids to bytes. A bundle's have the file and library of training: the same ids."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.text.patterns import check_patterns

BEGIN, END, TURN = 1, 2, 3
BOUNDARY = 0  # the byte that begins and ends a text of bytes
CLS, SEP = "[CLS]", "[SEP]"  # what a BERT reads before the first turn, and behind each
MARKS = (0, BEGIN, TURN)  # padding and marks: read, but never written
MULTIPLE = 64  # of scores in a graph: see training/tokenizer.py


class ByteTokenizer:
    """Every byte is a token. `BOUNDARY` is none of a text."""

    never: tuple[int, ...] = ()  # what is never written
    lead = ""  # what stands before the first word and is no part of a text
    pieces = (b"", *(bytes([byte]) for byte in range(1, 256)))  # the bytes of every token

    def encode(self, text: str) -> bytes:
        """The ids of a text, which are its bytes in UTF-8."""
        return text.encode()


class SubwordTokenizer:
    """A byte-level tokenizer of sub-words.

    Raises `ValueError` for a file that is none, or has another number of tokens than the graph.
    """

    lead = " "

    def __init__(self, data: bytes, vocabulary: int) -> None:
        self._tokenizer, ids = _open(data, "tokenizer")
        if -(-len(ids) // MULTIPLE) * MULTIPLE != vocabulary:
            raise ValueError(
                f"the tokenizer has {len(ids)} tokens, the graph scores {vocabulary}: they are not of one model; "
                "build the bundle again"
            )
        self._tokenizer.encode_special_tokens = True  # "<end>" in a text is text
        self.never = (*MARKS, *range(len(ids), vocabulary))  # what is never written
        alphabet = _bytes_of_characters()
        self.pieces = [b""] * vocabulary  # the bytes of every token; none of a mark
        for text, at in ids.items():
            if at > TURN:
                self.pieces[at] = bytes(alphabet[character] for character in text)

    def encode_turns(self, turns: Sequence[str]) -> list[int]:
        """The ids of a source: the turns of a conversation with TURN between them; a document is one turn."""
        encoded = self._tokenizer.encode_batch(list(turns), add_special_tokens=False)
        return [token for at, turn in enumerate(encoded) for token in ([TURN] if at else []) + list(turn.ids)]

    def parts(self, turns: Sequence[str]) -> list[tuple[list[int], NDArray[np.int64]]]:
        """Of each turn its ids, and the character that each of them begins at."""
        encoded = self._tokenizer.encode_batch(list(turns), add_special_tokens=False)
        return [(list(turn.ids), np.array([start for start, _ in turn.offsets], np.int64)) for turn in encoded]


class WordPieces:
    """A BERT's own tokenizer. Raises `ValueError` for a file that is none, or has pieces the BERT does not know."""

    def __init__(self, data: bytes, vocabulary: int) -> None:
        self._tokenizer = _open(data, "source tokenizer")[0]
        ids: dict[str, int] = self._tokenizer.get_vocab()
        if max(ids.values(), default=0) >= vocabulary or not {CLS, SEP} <= ids.keys():
            raise ValueError(
                f"the source tokenizer has {max(ids.values(), default=-1) + 1} word pieces, "
                f"{CLS} and {SEP} wanted among them, the graph knows {vocabulary}: "
                "they are not of one model; build the bundle again"
            )
        self.begin, self.end = ids[CLS], ids[SEP]
        self._tokenizer.encode_special_tokens = True  # "[SEP]" in a text is text
        # Files of sentence encoders often cut at 128 pieces and pad up to them.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def encode(self, turns: Sequence[str]) -> list[tuple[list[int], NDArray[np.int64]]]:
        """Of each turn its pieces, and the character that each of them ends before."""
        encoded = self._tokenizer.encode_batch(list(turns), add_special_tokens=False)
        return [(list(turn.ids), np.array([end for _, end in turn.offsets], np.int64)) for turn in encoded]


def _open(data: bytes, what: str) -> tuple[Any, dict[str, int]]:
    from tokenizers import Tokenizer

    try:
        tokenizer, document = Tokenizer.from_str(data.decode()), json.loads(data)
        check_patterns(tokenizer, document)
        return tokenizer, document["model"]["vocab"]
    except Exception as error:  # the library's errors have no class of their own
        raise ValueError(f"the {what} of the bundle cannot be read: {error}; build the bundle again") from None


def _bytes_of_characters() -> dict[str, int]:
    """The printable stand-in of every byte that byte-level tokenizers write into their files (Radford 2019)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + at): byte for at, byte in enumerate(others)}
