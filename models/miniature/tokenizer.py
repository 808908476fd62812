"""The text encoder's tokenizer: each known word is one token, other text is split into characters."""

from collections import Counter
from itertools import pairwise

from tokenizers import pre_tokenizers
from torch import Tensor
from transformers import CLIPTokenizer

from .captions import words

TEXT_LENGTH = 32
WORD_END = "</w>"

Merge = tuple[str, str]


def build_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer for the captions' words."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = find_merges([word for word in words() if word.isalpha()])
    tokens = [*alphabet, *(letter + WORD_END for letter in alphabet), *("".join(merge) for merge in merges)]
    tokens = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(tokens)}, merges=merges, model_max_length=TEXT_LENGTH
    )


def find_merges(vocabulary: list[str]) -> list[Merge]:
    """The byte-pair merges, in order, that make each word one token.

    ``tokenizers``' own trainer breaks ties at random, but all training stages must agree on every token.
    """
    splits = [[*word[:-1], word[-1] + WORD_END] for word in vocabulary]
    merges: list[Merge] = []
    while counts := Counter(pair for split in splits for pair in pairwise(split)):
        merges.append(max(counts, key=lambda pair: (counts[pair], pair)))
        splits = [apply_merge(split, merges[-1]) for split in splits]
    return merges


def apply_merge(split: list[str], merge: Merge) -> list[str]:
    """A word's parts with each occurrence of the merge joined."""
    joined: list[str] = []
    for part in split:
        if joined and (joined[-1], part) == merge:
            joined[-1] += part
        else:
            joined.append(part)
    return joined


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Captions to token ids, (B, TEXT_LENGTH), padded as the pipelines pad."""
    encoded = tokenizer(captions, padding="max_length", max_length=TEXT_LENGTH, truncation=True, return_tensors="pt")
    ids: Tensor = encoded.input_ids
    return ids
