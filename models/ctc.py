"""Text to CTC classes and back (Graves et al. 2006): the recogniser's alphabet.

Class 0 is the blank. A path of one class a frame stands for a text by two rules: equal neighbours are
one, then blanks go. So two equal characters in a row need a blank between them, and a text needs
`frames_needed` frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from models.errors import UnknownCharacter

BLANK = 0


class Alphabet:
    """The characters of a recogniser by class.

    Parameters:
        characters: one entry a class, as `models.weights.characters` returns them: the blank's name
            first (it is never part of a text), then one character a class.
    """

    def __init__(self, characters: Sequence[str]) -> None:
        self.characters = tuple(characters)
        self._classes = {c: i for i, c in enumerate(self.characters) if i != BLANK}
        odd = sum(len(c) != 1 for c in self.characters[1:])
        if odd or len(self._classes) != len(self.characters) - 1:
            raise ValueError(
                f"Expected one single character a class after the blank, each once; of {len(characters)} "
                f"classes {odd} are not single characters and {len(self._classes)} are distinct."
            )

    def __len__(self) -> int:
        """The number of classes, the blank included."""
        return len(self.characters)

    def encode(self, text: str) -> list[int]:
        """The classes of a text, one a character, without blanks.

        Raises:
            UnknownCharacter: lists what the alphabet lacks. A character is never dropped or replaced.
        """
        unknown = tuple(sorted(set(text) - self._classes.keys()))
        if unknown:
            raise UnknownCharacter(unknown)
        return [self._classes[c] for c in text]

    def decode(self, classes: Sequence[int]) -> str:
        """The text of classes without blanks: the inverse of `encode`."""
        return "".join(self.characters[i] for i in classes)

    def best_path(self, probabilities: npt.NDArray[np.floating]) -> tuple[str, tuple[float, ...]]:
        """The most probable path's text, and the probability of each of its characters.

        A character's confidence is its class's probability in the first frame of its run, as RapidOCR
        and PaddleOCR report it. `probabilities` is `(T, classes)`, softmax over the classes.
        """
        if probabilities.ndim != 2 or probabilities.shape[1] != len(self):
            raise ValueError(f"Expected (T, {len(self)}) probabilities, got {probabilities.shape}.")
        path = probabilities.argmax(axis=1)
        starts = np.flatnonzero(run_starts(path))
        return self.decode(path[starts].tolist()), tuple(probabilities[starts, path[starts]].tolist())


def run_starts(path: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Which frames of a path `(T,)` begin a character: not blank, and not the class of the frame before."""
    starts: npt.NDArray[np.bool_] = path != BLANK
    starts[1:] &= path[1:] != path[:-1]
    return starts


def frames_needed(classes: Sequence[int]) -> int:
    """The fewest frames that hold a text: one a character, one more between equal neighbours."""
    return len(classes) + sum(a == b for a, b in pairwise(classes))
