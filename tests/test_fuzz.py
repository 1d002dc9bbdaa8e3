"""The short form of bench/fuzz.py and of bench/hostile.py: seeded mutations, and a planted fault that they find."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bombs
from daemon import config, decoding
from daemon.decoder import FORMATS
from daemon.errors import BadFile
from learners import lines

sys.path.append(str(Path(__file__).parents[1] / "bench"))

import fuzz
from mutations import mutated


@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_our_parsers_answer_or_refuse(name):
    assert fuzz.by_mutation(fuzz.TARGETS[name], runs=150, seed=1) < fuzz.HANG_SECONDS


def test_a_parser_that_raises_something_else_is_found():
    """The mutant: JSON is read without a thought for what it may be."""

    def careless(data):
        return fuzz.json.loads(data)["shapes"][0]

    target = fuzz.Target(careless, (ValueError,), lambda: [b'{"shapes": [[3, 4]]}', b"[]"])
    with pytest.raises((KeyError, TypeError, IndexError)):
        fuzz.by_mutation(target, runs=500, seed=1)


def test_lines_that_unpack_to_more_than_a_document_holds_are_refused():
    pixels = np.zeros((48, 400_000, 3), np.uint8)
    buffer = bombs.io.BytesIO()
    np.savez_compressed(buffer, pixels=pixels, widths=np.array([400_000]), texts=np.frombuffer(b'["x"]', np.uint8))
    assert len(buffer.getvalue()) < 2**17
    with pytest.raises(ValueError, match="that are not"):
        lines.unpack(0, buffer.getvalue())


def test_mutated_files_are_decoded_refused_or_doubted_and_the_worker_lives():
    """None of them is worth a new process: what dies here is a finding."""
    image = Image.fromarray(np.random.default_rng(3).integers(0, 256, (90, 70, 3), np.uint8))
    known = [bombs.encoded(image, kind) for kind in (*FORMATS, "PDF")]
    decoder = decoding.Decoder(config.Ingest(), "require")
    answers, late = {"pages": 0, "doubtful": 0, "refused": 0}, 0
    try:
        for number in range(300):
            try:
                with decoder.decode(mutated(known, np.random.default_rng([7, number])), 20) as decoded:
                    answers["doubtful" if decoded.doubt else "pages"] += 1
            except BadFile as error:
                answers["refused"] += 1
                late += "ImportError" in str(error)
    finally:
        decoder.close()
    assert (sum(answers.values()), late) == (300, 0)
    assert min(answers["pages"], answers["refused"]) > 20
