"""A plan is public, spends one ticket, follows the theory, and refuses what noise would drown."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from learners import catalogue
from learners import plan as planning
from learners.adapters import ASCII, Adapter, Charset
from learners.catalogue import PUBLIC_LINES, Looks
from learners.chunks import CHUNK, look
from learners.errors import TooFewDocuments
from learners.lines import HEIGHT, TrainDocument, TrainLine, document
from learners.public import KINDS, public_documents
from learners.recipes import RECIPES, STARTED_BOUND
from learners.settings import Settings
from learners.survey import Surveyed, agreement, survey
from learners.synthesis import line
from models.ctc import Alphabet
from models.recogniser import Recogniser
from models.trainee import Depth
from privacy import accountant


@pytest.fixture(scope="module")
def public(model: Recogniser) -> Looks:
    made = [document(s, [line(2 * s + k, "thermal") for k in range(2)]) for s in range(1000, 1012)]
    return Looks(model, [found for found in made if found is not None])


@pytest.fixture(scope="module")
def surveyed(model: Recogniser, alphabet: Alphabet, public: Looks) -> list[Surveyed]:
    return survey(Settings(charset="ascii", adapter="head"), alphabet, public)


def test_a_plan_spends_one_ticket_of_the_lifetime(surveyed: list[Surveyed]) -> None:
    found, adapter = planning.choose(Settings(), surveyed, 256)
    assert (found.sample_rate, found.expected_documents, found.parameters) == (1.0, 256, adapter.size)
    assert 3.6 < found.epsilon_round < 3.75
    assert 7.99 < accountant.epsilon([found.event] * 4, found.delta) <= 8.0
    assert found.to_body()["noise_multiplier"] == found.noise_multiplier


def test_large_pools_are_sampled(surveyed: list[Surveyed]) -> None:
    found, _ = planning.choose(Settings(capacity=5000), surveyed, 5000)
    assert (found.sample_rate, found.expected_documents) == (0.2, 1000)
    assert accountant.epsilon([found.event] * 4, found.delta) <= 8.0


def test_a_round_that_noise_would_drown_is_refused_with_what_is_missing(surveyed: list[Surveyed]) -> None:
    settings = Settings(capacity=2000)
    with pytest.raises(TooFewDocuments, match="missing") as caught:
        planning.choose(settings, surveyed, 5)
    needed = caught.value.needed
    assert needed is not None
    assert caught.value.missing == needed - 5
    assert planning.choose(settings, surveyed, needed)[0].members == needed
    with pytest.raises(TooFewDocuments):
        planning.choose(settings, surveyed, needed - 1)


def test_a_start_leaves_less_to_learn_so_that_more_documents_are_needed(surveyed: list[Surveyed]) -> None:
    """In proportion to the bounds for noise beside the signal that is seen at the released model."""
    needed = []
    for begins in (False, True):
        with pytest.raises(TooFewDocuments) as caught:
            planning.choose(Settings(capacity=2000, public_start=begins), surveyed, 5)
        needed.append(caught.value.needed or 0)
    bound = RECIPES[surveyed[0].adapter.name].noise_bound
    assert needed[1] == pytest.approx(bound * needed[0] / STARTED_BOUND, abs=bound)
    with pytest.raises(TooFewDocuments, match="at most 2.5$"):
        planning.choose(Settings(capacity=2000, public_start=True), surveyed, needed[0])


def test_what_is_measured_is_told_every_few_documents(alphabet: Alphabet, public: Looks) -> None:
    heard: list[str] = []
    planning.plan(
        Settings(charset="ascii", adapter="head", epsilon_lifetime=1000.0), alphabet, 256, public, None, heard.append
    )
    assert set(heard) == {"measuring what public documents teach head"}
    assert len(heard) == 1 + math.ceil(len(public.at("projection")) / CHUNK)


def test_documents_that_agree_on_nothing_are_refused(surveyed: list[Surveyed]) -> None:
    with pytest.raises(TooFewDocuments, match="more documents than can be said"):
        planning.choose(Settings(), [Surveyed.of(surveyed[0].adapter, 0.0)], 100)


def test_a_smaller_adapter_is_taken_where_the_richer_one_would_drown(
    model: Recogniser, alphabet: Alphabet, public: Looks
) -> None:
    settings = Settings(charset="ascii")
    *_, head, bias = survey(settings, alphabet, public)
    assert (head.name, bias.name) == ("head", "bias")
    assert head.size > bias.size
    plenty = Surveyed.of(bias.adapter, max(bias.agreement, 0.04))
    assert planning.choose(settings, [head, plenty], 256)[0].adapter == "head"
    drowned = Surveyed.of(head.adapter, head.agreement * 1e-6)
    assert planning.choose(settings, [drowned, plenty], 256)[0].adapter == "bias"


def test_a_plan_tells_of_every_adapter_and_measures_those_that_it_may_take(alphabet: Alphabet, public: Looks) -> None:
    """Of the others nothing is recorded at this rank: their noise stands beside the largest signal that could be."""
    settings = Settings(charset="ascii", capacity=2000, rank=63)
    surveyed = survey(settings, alphabet, public)
    found, adapter = planning.choose(settings, surveyed, 2000)
    told = {each.adapter: each for each in found.considered}
    assert list(told) == [each.name for each in surveyed] == list(RECIPES)
    assert {name: each.verdict for name, each in told.items()} == {
        **dict.fromkeys(("all", "neck", "top", "lora", "norm"), "left out unless asked for"),
        "head": "taken",
        "bias": "not needed",
    }
    assert adapter.name == "head"
    assert ["_measured" in vars(each) for each in surveyed] == [each.measured for each in told.values()]
    assert [each.parameters for each in told.values()] == sorted((each.size for each in surveyed), reverse=True)
    lora = next(each for each in surveyed if each.name == "lora")
    measured = planning.planned(settings, lora, 2000)
    assert lora.size == measured.parameters
    assert told["lora"].noise_over_signal == pytest.approx(measured.noise_over_signal * lora.agreement / 0.05)
    assert str(told["lora"]).endswith(
        f"left out unless asked for: noise at least {told['lora'].noise_over_signal:.2f} times the signal, at most 1"
    )


def neck(**given: float) -> Surveyed:
    """As wide as PP-OCRv4's, and not to be measured."""

    def measure() -> tuple[Adapter, float]:
        raise AssertionError("the neck was measured")

    return Surveyed("neck", 571_560, measure, **given)  # type: ignore[arg-type]


LARGE = Settings(charset="ascii", capacity=10_000, rounds_per_document=1, public_start=True)


def test_from_a_start_auto_takes_the_neck_where_noise_is_little(surveyed: list[Surveyed]) -> None:
    """At most .6 of its signal: as measured, once the record does not say otherwise."""
    assert RECIPES["neck"].from_start == 0.6
    known = Surveyed.of(Named(surveyed[0].adapter, "neck", 571_560), 0.022, recorded=0.022)
    taken, adapter = planning.choose(LARGE, [known, *surveyed], 7500)
    assert (taken.adapter, adapter.name, taken.learning_rate) == ("neck", "neck", RECIPES["neck"].learning_rate)
    assert 0.2 < taken.noise_over_signal <= 0.6
    assert [each.verdict for each in taken.considered] == ["taken", "not needed"]
    less, _ = planning.choose(LARGE, [known, *surveyed], 3000)
    assert less.adapter == "head"
    assert str(less.considered[0]).startswith("neck (571560 parameters) passed over: noise 0.7")
    fainter = Surveyed.of(known.adapter, 0.01, recorded=0.022)
    assert planning.choose(LARGE, [fainter, *surveyed], 7500)[0].considered[0].verdict == "passed over"


@pytest.mark.parametrize(
    ("settings", "members", "given", "verdict"),
    [
        (LARGE, 3000, {"recorded": 0.022}, "passed over: noise 0.7"),
        (LARGE, 1000, {}, "passed over: noise at least 0.9"),
        (replace(LARGE, public_start=False), 10_000, {"recorded": 0.022}, "left out unless asked for: noise 0.2"),
        (
            replace(LARGE, memory=60 * 2**30),
            10_000,
            {"recorded": 0.022, "bytes_a_line": 480 * 300 * 4},
            "left out, for it wants 85.8 GiB of memory and has 57.0: noise 0.2",
        ),
    ],
)
def test_a_neck_that_will_not_be_taken_is_not_measured(
    surveyed: list[Surveyed], settings: Settings, members: int, given: dict[str, float], verdict: str
) -> None:
    found, _ = planning.choose(settings, [neck(**given), *surveyed], members)
    assert found.adapter == "head"
    assert str(found.considered[0]).startswith(f"neck (571560 parameters) {verdict}")


def test_the_neck_is_taken_where_what_it_reads_from_fits(surveyed: list[Surveyed]) -> None:
    known = Surveyed.of(Named(surveyed[0].adapter, "neck", 571_560), 0.022, 0.022, bytes_a_line=480 * 300 * 4)
    enough = planning.BESIDES + 10_000 * LARGE.lines * known.bytes_a_line
    for memory, adapter in ((enough, "neck"), (enough - 1, "head")):
        assert planning.choose(replace(LARGE, memory=memory), [known, *surveyed], 10_000)[0].adapter == adapter


def test_a_round_on_a_small_machine_remembers_something() -> None:
    assert planning.room(24 * 2**30) == 21 * 2**30
    assert planning.room(3 * 2**30) == 3 * 2**28


@pytest.mark.parametrize(("depth", "width"), [("projection", 60 * 4 / 8), ("backbone", 480 * 4 / 8), ("image", 3 * 48)])
def test_a_plan_reckons_with_lines_as_wide_as_public_ones(model: Recogniser, depth: Depth, width: float) -> None:
    """What is remembered of a pixel's width, on average over lines of two widths."""
    lines = [TrainLine(np.zeros((HEIGHT, wide, 3), np.uint8), "x") for wide in (480, 960)]
    public = Looks(model, [TrainDocument(k, (each,)) for k, each in enumerate(lines)])
    assert public.mean_width() == 720
    assert catalogue.bytes_a_line(public, depth) == 720 * width
    found = [frames for seen in public.at(depth) for frames in seen.frames]
    assert sum(each.nbytes for each in found) == 2 * 720 * width


class Named:
    """An adapter under another's name and size."""

    def __init__(self, adapter: Adapter, name: str, size: int) -> None:
        self._adapter, self.name, self.size = adapter, name, size

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)


def test_a_refusal_counts_with_every_adapter_that_may_be_taken(
    model: Recogniser, alphabet: Alphabet, public: Looks
) -> None:
    settings = Settings(charset="ascii", capacity=2000)
    *_, head, bias = survey(settings, alphabet, public)
    with pytest.raises(TooFewDocuments) as by_head:
        planning.choose(settings, [head, Surveyed.of(bias.adapter, 0.0)], 2)
    with pytest.raises(TooFewDocuments) as by_either:
        planning.choose(settings, [head, Surveyed.of(bias.adapter, 0.04)], 2)
    assert (by_head.value.needed or 0) > (by_either.value.needed or 0) > 2


def test_adapters_that_are_left_out_are_no_way_out(model: Recogniser, alphabet: Alphabet, public: Looks) -> None:
    deep = next(each for each in survey(Settings(charset="ascii"), alphabet, public) if each.name == "norm")
    with pytest.raises(TooFewDocuments, match="more documents than can be said"):
        planning.choose(Settings(charset="ascii"), [deep], 256)
    assert planning.choose(Settings(charset="ascii", adapter="norm", capacity=2000), [deep], 2000)[1].name == "norm"


def test_the_prediction_follows_the_theory(surveyed: list[Surveyed]) -> None:
    """noise / signal is inverse to the documents and to mu, and needs no private number."""
    one, _ = planning.choose(Settings(), surveyed, 256)
    less, _ = planning.choose(Settings(), surveyed, 250)
    assert less.noise_over_signal == pytest.approx(one.noise_over_signal * 256 / 250)
    single, _ = planning.choose(Settings(rounds_per_document=1), surveyed, 256)
    ratio = accountant.mu(single.event) / accountant.mu(one.event)
    assert one.noise_over_signal == pytest.approx(single.noise_over_signal * ratio, rel=1e-6)


def test_a_plan_with_fewer_lines_than_a_document_has_spreads_them_over_it(model: Recogniser) -> None:
    made = document(0, [line(k, "thermal") for k in range(9)])
    assert made is not None
    [seen] = look(model, [made], 3)
    assert seen.texts == tuple(made.lines[k].text for k in (0, 3, 6))


def test_agreement_is_unbiased_for_few_documents(surveyed: list[Surveyed], model: Recogniser) -> None:
    """Pairs of documents say on average what twelve say; the plain norm of a pair's mean says far more."""
    made = [document(s, [line(s, "thermal")]) for s in range(3000, 3012)]
    seen = look(model, [found for found in made if found is not None])
    head = surveyed[0].adapter
    whole = agreement(head, seen, 0.2)
    pairs = [agreement(head, [seen[i], seen[j]], 0.2) ** 2 for i in range(12) for j in range(i)]
    assert math.sqrt(sum(pairs) / len(pairs)) == pytest.approx(whole, rel=0.1)


def test_public_documents_are_pages_and_clean_lines_and_always_the_same() -> None:
    found = public_documents(5_000_000, 7)
    again = public_documents(5_000_000, 7)
    assert [[one.text for one in each.lines] for each in found] == [[one.text for one in each.lines] for each in again]
    assert [len(each.lines) for each in found[::2]] == [PUBLIC_LINES] * 4
    assert all(any("\u4e00" <= c <= "\u9fff" for c in one.text) for one in found[4].lines)
    assert all(one.text.isascii() for one in found[0].lines)
    assert "label" not in KINDS


@pytest.mark.parametrize("members", [0, 257])
def test_a_plan_for_nobody_or_too_many_is_refused(surveyed: list[Surveyed], members: int) -> None:
    with pytest.raises(ValueError, match="members"):
        planning.choose(Settings(), surveyed, members)


def test_public_documents_with_nothing_to_learn_are_refused(model: Recogniser, alphabet: Alphabet) -> None:
    with pytest.raises(ValueError, match="public"):
        planning.plan(Settings(), alphabet, 100, Looks(model, []))


@pytest.mark.parametrize(
    "wrong", [{"capacity": 0}, {"delta": 1.0}, {"adapter": "everything"}, {"lines": 17}, {"rank": 121}]
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="Expected"):
        Settings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", RECIPES)
def test_an_adapters_size_is_known_before_it_is_built(
    name: str, model: Recogniser, alphabet: Alphabet, public: Looks
) -> None:
    charset = Charset.of(ASCII, alphabet)
    outlined = catalogue.outline(name, charset, 8, model)
    built = catalogue.build(name, charset, 8, public)
    assert (outlined.size, outlined.depth) == (built.size, built.depth)


def test_a_plan_says_what_it_considered_and_why(surveyed: list[Surveyed]) -> None:
    found, _ = planning.choose(Settings(), surveyed, 256)
    [only] = found.to_body()["considered"]
    assert only.startswith(f"head ({found.parameters} parameters) taken: noise {found.noise_over_signal:.2f} times")
    with pytest.raises(TooFewDocuments, match="head .* passed over: noise .* at most 4"):
        planning.choose(Settings(), surveyed, 5)


@pytest.mark.parametrize("name", ["lora", "norm", "neck", "all"])
def test_deep_adapters_are_planned_by_name(name: str, model: Recogniser, alphabet: Alphabet, public: Looks) -> None:
    [found] = survey(Settings(charset="ascii", adapter=name, rank=8), alphabet, public)
    assert found.adapter.name == name
    planned = planning.planned(Settings(), found, 256)
    assert planned.parameters == found.adapter.size
    assert 0 < planned.noise_over_signal < math.inf
