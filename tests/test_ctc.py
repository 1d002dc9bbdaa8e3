"""CTC: text to classes and back, against RapidOCR's decoder and torch's loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rapidocr.ch_ppocr_rec.utils import CTCLabelDecode

from models.ctc import Alphabet, frames_needed
from models.errors import UnknownCharacter

CHARACTERS = ["blank", *"abc字 "]
ALPHABET = Alphabet(CHARACTERS)
paths = st.lists(st.integers(0, len(CHARACTERS) - 1), min_size=1, max_size=40)
texts = st.text(alphabet="".join(CHARACTERS[1:]), max_size=12)


def probabilities(path: list[int], seed: int) -> np.ndarray:
    """`(T, classes)` float32, rows that sum to 1 and are largest at `path`."""
    scores = np.random.default_rng(seed).uniform(0, 1, (len(path), len(CHARACTERS)))
    scores[np.arange(len(path)), path] += 1.5
    return (scores / scores.sum(1, keepdims=True)).astype(np.float32)


@given(paths, st.integers(0, 2**32 - 1))
def test_best_path_is_rapidocrs(path: list[int], seed: int) -> None:
    given_probabilities = probabilities(path, seed)
    text, confidences = ALPHABET.best_path(given_probabilities)
    decode = CTCLabelDecode(character=CHARACTERS[1:-1])
    lines, words = decode(given_probabilities[None], return_word_box=True)
    assert text == lines[0][0]
    assert np.mean(confidences or [0]) == pytest.approx(lines[0][1], abs=2e-5)
    if text:
        assert confidences == pytest.approx(words[0].confs, abs=1e-5)


@given(texts)
def test_a_text_comes_back_from_its_shortest_path(text: str) -> None:
    classes = ALPHABET.encode(text)
    assert ALPHABET.decode(classes) == text
    path: list[int] = []
    for c in classes:
        path += [0, c] if path and path[-1] == c else [c]
    assert len(path) == frames_needed(classes)
    found, confidences = ALPHABET.best_path(np.eye(len(CHARACTERS))[path or [0]])
    assert found == text
    assert confidences == (1.0,) * len(text)


@given(texts.filter(bool))
def test_frames_needed_is_where_the_loss_turns_finite(text: str) -> None:
    classes = ALPHABET.encode(text)
    needed = frames_needed(classes)
    target = torch.tensor([classes])
    for frames, finite in ((needed, True), (needed - 1, False)):
        if frames == 0:
            continue
        scores = torch.zeros(frames, 1, len(CHARACTERS)).log_softmax(-1)
        loss = torch.nn.functional.ctc_loss(scores, target, torch.tensor([frames]), torch.tensor([len(classes)]))
        assert bool(torch.isfinite(loss)) is finite


def test_a_character_outside_the_alphabet_is_listed_and_the_text_is_not_shown() -> None:
    with pytest.raises(UnknownCharacter) as refused:
        ALPHABET.encode("a€bß€")
    assert refused.value.characters == ("ß", "€")
    assert "a" not in str(refused.value).replace("characters", "").split()
    assert "€" not in str(refused.value)


def test_the_blanks_name_is_no_text() -> None:
    with pytest.raises(UnknownCharacter):
        ALPHABET.encode("blank")


@pytest.mark.parametrize("characters", [["blank", "a", "a"], ["blank", "ab"], ["blank", ""]])
def test_an_ambiguous_alphabet_is_refused(characters: list[str]) -> None:
    with pytest.raises(ValueError, match="single character"):
        Alphabet(characters)


@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 6), (6,)])
def test_probabilities_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(T, 6\)"):
        ALPHABET.best_path(np.zeros(shape))
