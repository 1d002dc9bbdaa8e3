"""The noise is a discrete Gaussian of the sigma that was asked for, and is drawn only against a debit."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from scipy import stats

from privacy import noise as noise_module
from privacy.accountant import MOST_NUMBERS, RoundEvent
from privacy.errors import BudgetExhausted
from privacy.ledger import Entry, Ledger
from privacy.noise import Debit, Grid, Kind, NoiseSource, _Stream
from privacy.signing import SigningKey

SEED = bytes(range(32))
GRID = Grid(1.0)
DRAWS = 200_000
WRONG = (2 / 3, 3 / 2)


def _noise(
    std: float, size: int = DRAWS, seed: bytes | None = SEED, kind: Kind = "discrete-gaussian"
) -> npt.NDArray[np.float64]:
    source = NoiseSource(Debit.for_tests(), seed=seed, kind=kind)
    return source.add_to(np.zeros(size, dtype=np.int64), GRID, std).astype(np.float64) * GRID.step


def _is_gaussian(draws: npt.NDArray[np.float64], std: float) -> bool:
    """Kolmogorov-Smirnov, and the tail beyond 3.5 standard deviations."""
    tail = int(np.sum(np.abs(draws) > 3.5 * std))
    expected = 2 * stats.norm.sf(3.5) * draws.size
    likely = stats.kstest(draws / std, "norm").pvalue > 1e-9
    return bool(likely and abs(tail - expected) < 6 * math.sqrt(expected))


@pytest.mark.parametrize("std", [1e-9, 0.5, 1.0, 13.059])
@pytest.mark.parametrize("kind", ["discrete-gaussian", "float64-gaussian"])
def test_the_noise_has_the_sigma_asked_for_and_no_other(std: float, kind: Kind) -> None:
    draws = _noise(std, kind=kind)
    assert _is_gaussian(draws, std)
    for wrong in WRONG:
        assert not _is_gaussian(draws, wrong * std)
        assert not _is_gaussian(wrong * draws, std)


def test_the_system_generator_gives_the_same_distribution() -> None:
    draws = _noise(2.0, seed=None)
    assert _is_gaussian(draws, 2.0)
    assert not np.array_equal(draws, _noise(2.0, seed=None))


def test_a_float64_gaussian_is_for_comparison_only(entry: Entry, key: SigningKey) -> None:
    assert not np.array_equal(_noise(1.0, 100), _noise(1.0, 100, kind="float64-gaussian"))
    with pytest.raises(ValueError, match="discrete-gaussian noise with a real debit"):
        NoiseSource(Debit.of(entry, key.public), kind="float64-gaussian")


def test_moments() -> None:
    draws = _noise(1.0, 1_000_000)
    assert abs(draws.mean()) < 0.005
    assert draws.var() == pytest.approx(1.0, rel=0.01)
    assert abs(stats.skew(draws)) < 0.02
    assert abs(stats.kurtosis(draws)) < 0.04
    assert abs(draws).max() > 4.5


def test_draws_are_independent_of_each_other() -> None:
    source = NoiseSource(Debit.for_tests(), seed=SEED)
    zeros = np.zeros(DRAWS, dtype=np.int64)
    first, second = (source.add_to(zeros, GRID, 1.0).astype(float) for _ in range(2))
    for one, other in ((first, second), (first[:-1], first[1:]), (np.abs(first[:-1]), np.abs(first[1:]))):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.01
    half = DRAWS // 2  # across the chunks that bound the memory
    assert abs(np.corrcoef(first[:half], first[half:])[0, 1]) < 0.02
    assert not np.intersect1d(first[:1000], second[:1000]).size > 5


def test_a_seed_repeats_and_is_for_tests_only() -> None:
    assert np.array_equal(_noise(1.0, 100), _noise(1.0, 100))
    assert not np.array_equal(_noise(1.0, 100), _noise(1.0, 100, seed=bytes(32)))
    with pytest.raises(ValueError, match="seed of 32 bytes"):
        NoiseSource(Debit.for_tests(), seed=b"short")
    with pytest.raises(ValueError, match="no seed with a real debit"):
        NoiseSource(Debit(3, "a" * 64, RoundEvent(1.0, 1.0, 1)), seed=SEED)


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 200_001])
def test_shapes_and_types(size: int) -> None:
    source = NoiseSource(Debit.for_tests(), seed=SEED)
    total = np.arange(size, dtype=np.int64)
    noisy = source.add_to(total, GRID, 1.0)
    assert noisy.shape == (size,)
    assert noisy.dtype == np.int64
    assert np.array_equal(total, np.arange(size))
    assert source.add_to(np.zeros((2, 3), dtype=np.int64), GRID, 1.0).shape == (2, 3)
    with pytest.raises(ValueError, match="int64"):
        source.add_to(np.zeros(3), GRID, 1.0)  # type: ignore[arg-type]


def test_what_is_added_to_shifts_the_release_exactly() -> None:
    """The noise does not depend on the sum: no low bits of it can tell two sums apart, nor an overflow."""
    total = np.append(np.random.default_rng(0).integers(-(2**40), 2**40, 1000), [2**63 - 1, -(2**63)] * 50)
    release = NoiseSource(Debit.for_tests(), seed=SEED).add_to(total, GRID, 1.0)
    noise = NoiseSource(Debit.for_tests(), seed=SEED).add_to(np.zeros_like(total), GRID, 1.0)
    assert np.array_equal(release - total, noise)


@pytest.mark.parametrize("bound", [1.0, 0.2, 0.5, 1e-6, 3.7e5])
def test_the_grid_is_fine_and_exact(bound: float) -> None:
    grid = Grid(bound)
    assert 2**39 <= bound / grid.step < 2**40
    assert math.frexp(grid.step)[0] == 0.5
    assert grid.sensitivity * grid.step == bound
    std = float(np.std(NoiseSource(Debit.for_tests(), seed=SEED).add_to(np.zeros(DRAWS, np.int64), grid, 2.0)))
    assert std * grid.step == pytest.approx(2.0 * bound, rel=0.01)


@pytest.mark.parametrize("bound", [0.0, -1.0, math.nan, math.inf])
def test_a_bound_that_is_none_is_refused(bound: float) -> None:
    with pytest.raises(ValueError, match="bound > 0"):
        Grid(bound)


def test_noise_beyond_the_integers_is_refused() -> None:
    source = NoiseSource(Debit.for_tests())
    for beyond in (2.0**17, 1e300):
        with pytest.raises(ValueError, match="2\\^56"):
            source.add_to(np.zeros(1, np.int64), GRID, beyond)
    with pytest.raises(ValueError, match="finite noise_multiplier"):
        source.add_to(np.zeros(1, np.int64), GRID, math.inf)


def _chacha(call: int, size: int) -> list[int]:
    """A source's words under SEED, by the cipher alone: the nonce is the number of the call."""
    nonce = bytes(8) + call.to_bytes(8, "little")
    stream = Cipher(ChaCha20(SEED, nonce), mode=None).encryptor().update(bytes(8 * size))
    return [int.from_bytes(stream[8 * k : 8 * k + 8], "little") for k in range(size)]


def test_the_stream_is_chacha20() -> None:
    """The first key stream block of RFC 8439, appendix A.1, test vector 1: key, nonce and counter zero."""
    stream = _Stream(bytes(32)).words(2).tobytes()
    assert stream.hex() == "76b8e0ada0f13d90405d6ae55386bd28"
    one = _Stream(SEED)
    assert [one.words(5).tolist() for _ in range(3)] == [_chacha(call, 5) for call in range(3)]


def test_no_call_takes_a_nonce_again() -> None:
    """A round of all parameters makes tens of thousands of calls; far on, the count still has room."""
    taken: list[bytes] = []

    class Seen:
        def __init__(self, algorithm: ChaCha20, mode: None) -> None:
            taken.append(algorithm.nonce)

        def encryptor(self) -> Seen:
            return self

        def update(self, zeros: bytes) -> bytes:
            return zeros

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noise_module, "Cipher", Seen)
        stream = _Stream(SEED)
        for first in (0, 2**32 - 2**10, 2**63):
            stream._calls = first
            for _ in range(2**17 if first == 0 else 2**11):
                stream.words(0)
    assert len(set(taken)) == len(taken) == 2**17 + 2**12
    assert all(nonce[:8] == bytes(8) for nonce in taken), "a call begins where the key stream does"


@pytest.mark.parametrize("rate", [0.1, 0.25, 1 / 3, 5e-20, 2.0**-64, 1.0 - 2.0**-53])
def test_a_coin_is_an_exact_comparison_of_integers(rate: float) -> None:
    """True with probability floor(2^64 rate) / 2^64: never above the rate charged."""
    mask = NoiseSource(Debit.for_tests(), seed=SEED).poisson(1000, rate)
    assert mask.tolist() == [word < math.floor(Fraction(rate) * 2**64) for word in _chacha(0, 1000)]


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.25, 1.0])
def test_poisson_sampling_has_the_rate_asked_for_and_no_other(rate: float) -> None:
    source = NoiseSource(Debit.for_tests(sample_rate=1.0), seed=SEED)
    mask = source.poisson(DRAWS, rate)
    assert mask.shape == (DRAWS,)
    assert mask.dtype == np.bool_
    if rate in (0.0, 1.0):
        assert mask.mean() == rate
        return
    spread = math.sqrt(rate * (1 - rate) / DRAWS)
    assert abs(mask.mean() - rate) < 5 * spread
    for wrong in WRONG:
        assert abs(mask.mean() - wrong * rate) > 5 * spread


def test_batches_are_independent_and_of_varying_size() -> None:
    source = NoiseSource(Debit.for_tests(sample_rate=0.25), seed=SEED)
    masks = np.stack([source.poisson(400, 0.25) for _ in range(500)])
    sizes = masks.sum(axis=1)
    assert sizes.var() == pytest.approx(400 * 0.25 * 0.75, rel=0.25), "a shuffle would give batches of one size"
    together = (masks[:, :-1] & masks[:, 1:]).mean()
    assert together == pytest.approx(0.0625, abs=0.005)
    assert (masks[:-1] & masks[1:]).mean() == pytest.approx(0.0625, abs=0.005)


# The guard.


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return SigningKey.create(tmp_path / "key")


@pytest.fixture
def entry(tmp_path: Path, key: SigningKey) -> Entry:
    with Ledger(tmp_path / "ledger.jsonl", key) as ledger:
        body = {"event": RoundEvent(0.5, 2.0, 3).to_body(), "slots": [[0, 10]]}
        return ledger.append("debit", body)


def test_a_source_draws_what_was_charged_and_no_more(entry: Entry, key: SigningKey) -> None:
    debit = Debit.of(Entry.parse(entry.line()), key.public)
    assert (debit.seq, debit.hash, debit.is_real) == (entry.seq, entry.hash, True)
    source, zeros = NoiseSource(debit), np.zeros(4, dtype=np.int64)
    with pytest.raises(BudgetExhausted, match="noise_multiplier >= 2.0"):
        source.add_to(zeros, GRID, 1.999)
    with pytest.raises(BudgetExhausted, match="noise_multiplier >= 2.0"):
        source.add_to(zeros, GRID, math.nan)
    with pytest.raises(BudgetExhausted, match="sample_rate <= 0.5"):
        source.poisson(4, 0.51)
    for step in range(3):
        assert source.drawn == step
        source.poisson(4, 0.5)
        source.add_to(zeros, GRID, 2.0)
    with pytest.raises(BudgetExhausted, match="All 3 releases"):
        source.add_to(zeros, GRID, 2.0)


def test_a_release_has_no_more_numbers_than_the_proof_covers(entry: Entry, key: SigningKey) -> None:
    source = NoiseSource(Debit.of(entry, key.public))
    with pytest.raises(BudgetExhausted, match=f"at most {MOST_NUMBERS} numbers in a release, got {MOST_NUMBERS + 1}"):
        source.add_to(np.broadcast_to(np.int64(0), (MOST_NUMBERS + 1,)), GRID, 2.0)
    assert source.drawn == 0


def test_a_debit_serves_one_source(entry: Entry, key: SigningKey) -> None:
    NoiseSource(Debit.of(entry, key.public))
    with pytest.raises(BudgetExhausted, match="drawn against before"):
        NoiseSource(Debit.of(entry, key.public))


def test_a_debit_needs_a_signed_entry_that_charges(entry: Entry, key: SigningKey, tmp_path: Path) -> None:
    cheaper = {**entry.body, "event": RoundEvent(0.5, 0.1, 3).to_body()}
    forged = replace(entry, body=cheaper)
    other = SigningKey.create(tmp_path / "other").public
    for bad, public in (
        (forged, key.public),
        (entry, other),
        (replace(forged, hash=forged.expected_hash()), key.public),
    ):
        with pytest.raises(BudgetExhausted, match="signed by the expected key"):
            Debit.of(bad, public)
    with Ledger(tmp_path / "ledger.jsonl", key) as ledger:
        for body in ({}, {"event": 1}, {"event": {"steps": 1}}):
            with pytest.raises(BudgetExhausted, match="charges for no event"):
                Debit.of(ledger.append("erasure", body), key.public)


def test_there_is_no_noise_without_a_debit() -> None:
    with pytest.raises(TypeError):
        NoiseSource()  # type: ignore[call-arg]
    assert not Debit.for_tests().is_real


def test_noise_does_not_load_torch() -> None:
    code = "import sys, privacy.noise; print(*{n.partition('.')[0] for n in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "scipy", "opacus"} & set(done.stdout.split())
