"""Sub-word tokenizers: byte-level BPE, learned from the corpus and kept in the checkpoint, and that of a BERT.

Byte pair encoding of words (Sennrich, Haddow, Birch 2016, arXiv:1508.07909) over bytes in place of characters (Radford
2019), so every text has tokens, in any script, and nothing is ever unknown. handlers/ opens the same files and gives
the same ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from training.models.seq2seq import BEGIN, END, PAD, TURN

SPECIAL = {PAD: "<pad>", BEGIN: "<begin>", END: "<end>", TURN: "<turn>"}
ASSET = "tokenizer.json"
SOURCE_ASSET = "source_tokenizer.json"  # of a BERT that reads the sources
MARKS = ("[CLS]", "[SEP]")  # before the first turn, and behind each
# Networks score a multiple of it: element-wise kernels compute the rest behind whole vectors another way, so the last
# scores of a row would depend on the rows behind it.
MULTIPLE = 64
MIN_FREQUENCY = 2  # of a pair that becomes a token


class TokenizerError(ValueError):
    """A tokenizer file that cannot be read, or does not fit its model."""


class BytePairTokenizer:
    """Text to ids and back."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._tokenizer = Tokenizer.from_str(data.decode())
        self._tokenizer.encode_special_tokens = True  # "<end>" in a text is text

    @classmethod
    def learn(cls, texts: Iterable[str], vocabulary: int) -> BytePairTokenizer:
        """A tokenizer of at most `vocabulary` tokens, the 256 bytes and the special ones among them."""
        tokenizer = Tokenizer(models.BPE())
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)  # a first word is like any other
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary,
            min_frequency=MIN_FREQUENCY,
            special_tokens=[SPECIAL[at] for at in sorted(SPECIAL)],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return cls(tokenizer.to_str().encode())

    @property
    def size(self) -> int:
        """The number of tokens."""
        return int(self._tokenizer.get_vocab_size())

    @property
    def scored(self) -> int:
        """The number of tokens that a network scores: `size`, and unused ones up to a whole `MULTIPLE`."""
        return -(-self.size // MULTIPLE) * MULTIPLE

    @property
    def never(self) -> list[int]:
        """Tokens that are never written: marks, and what is unused."""
        return [PAD, BEGIN, TURN, *range(self.size, self.scored)]

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without special tokens."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode_turns(self, turns: Sequence[str]) -> list[int]:
        """The ids of a source: the turns of a conversation with TURN between them; a document is one turn."""
        encoded = self._tokenizer.encode_batch(list(turns), add_special_tokens=False)
        return [token for at, turn in enumerate(encoded) for token in ([TURN] if at else []) + list(turn.ids)]

    def parts(self, turns: Sequence[str]) -> list[tuple[list[int], NDArray[np.int64]]]:
        """Of each turn its ids, and the character that each of them begins at."""
        encoded = self._tokenizer.encode_batch(list(turns), add_special_tokens=False)
        return [(list(turn.ids), np.array([start for start, _ in turn.offsets], np.int64)) for turn in encoded]

    def decode(self, ids: Iterable[int]) -> str:
        """The text up to END; bytes that are no UTF-8 show as U+FFFD."""
        kept: list[int] = []
        for token in ids:
            if token == END:
                break
            kept.append(int(token))
        return str(self._tokenizer.decode(kept)).strip()


class WordPieceTokenizer:
    """A BERT's own tokenizer (Schuster, Nakajima 2012; Wu 2016).

    Raises `TokenizerError` for a file that is none, or does not fit a BERT of `vocabulary` tokens.
    """

    def __init__(self, data: bytes, vocabulary: int) -> None:
        self.data = data
        try:
            self._tokenizer = Tokenizer.from_str(data.decode())
        except Exception as error:  # the library's errors have no class of their own
            raise TokenizerError(f"{SOURCE_ASSET} cannot be read: {error}") from None
        ids = self._tokenizer.get_vocab()
        if max(ids.values(), default=0) >= vocabulary:
            raise TokenizerError(
                f"the tokenizer has {max(ids.values()) + 1} word pieces, the BERT knows {vocabulary}: "
                "they are not of one model"
            )
        if missing := [mark for mark in MARKS if mark not in ids]:
            raise TokenizerError(
                f"the tokenizer has no {' and no '.join(missing)}, which a BERT reads around every text"
            )
        self.begin, self.end = (ids[mark] for mark in MARKS)
        self._tokenizer.encode_special_tokens = True  # "[SEP]" in a text is text
        # Files of sentence encoders often cut at 128 pieces and pad up to them.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def encode(self, turns: Sequence[str]) -> list[tuple[list[int], NDArray[np.int64]]]:
        """Of each turn its pieces, and the character that each of them ends before."""
        encoded = self._tokenizer.encode_batch(list(turns), add_special_tokens=False)
        return [(list(turn.ids), np.array([end for _, end in turn.offsets], np.int64)) for turn in encoded]
