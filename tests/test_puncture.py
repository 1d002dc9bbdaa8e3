"""What is left of a punctured tree: every other key as it was, and no way to the punctured one."""

from __future__ import annotations

import hmac
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.errors import Punctured
from privacy.puncture import DEPTH, LEAVES, Node, Tree

SEED = bytes(range(32))
slots = st.integers(0, 200) | st.integers(0, LEAVES - 1)
cuts = st.lists(st.tuples(slots, st.integers(1, 50)).map(lambda t: (t[0], min(t[0] + t[1], LEAVES))), max_size=6)


@given(cuts=cuts, asked=st.lists(slots, min_size=1, max_size=8))
@settings(max_examples=60)
def test_every_other_key_stays_and_the_punctured_are_gone(cuts, asked) -> None:
    whole, left = Tree.grow(SEED), Tree.grow(SEED).punctured(cuts)
    for slot in [*asked, *(first for first, _ in cuts), *(after - 1 for _, after in cuts)]:
        if any(first <= slot < after for first, after in cuts):
            assert not left.holds(slot)
            with pytest.raises(Punctured, match=f"slot {slot} "):
                left.leaf(slot)
        else:
            assert left.leaf(slot) == whole.leaf(slot)
    assert Tree.from_bytes(left.to_bytes()) == left
    assert left.punctured(cuts) == left
    assert whole.punctured(left.gaps()) == left


def test_no_node_that_is_left_lies_above_a_punctured_leaf() -> None:
    left = Tree.grow(SEED).punctured([(5, 6), (70, 90)])
    for node in left.nodes:
        first, after = node.index << node.level, (node.index + 1) << node.level
        assert after <= 5 or first >= 90 or (first >= 6 and after <= 70)
    assert left.gaps() == [(5, 6), (70, 90)]


def test_a_leaf_is_the_walk_of_the_paper() -> None:
    slot, value = 0b1011, SEED
    for level in reversed(range(DEPTH)):
        value = hmac.digest(value, bytes([slot >> level & 1]), "sha256")
    assert Tree.grow(SEED).leaf(slot) == value


def test_keys_differ() -> None:
    leaves = {Tree.grow(seed).leaf(slot) for seed in (SEED, os.urandom(32)) for slot in range(100)}
    assert len(leaves) == 200


def test_a_run_is_small_however_long() -> None:
    run = Tree.grow(SEED).punctured([(0, 1_000_003)])
    assert len(run.nodes) <= DEPTH
    assert Tree.grow(SEED).punctured([(n, n + 1) for n in range(300)]) == Tree.grow(SEED).punctured([(0, 300)])
    scattered = Tree.grow(SEED).punctured([(n * 977, n * 977 + 1) for n in range(1000)])
    assert len(scattered.nodes) < 1000 * 12


def test_what_is_no_tree_is_refused() -> None:
    for broken in (b"x", Tree.grow(SEED).to_bytes()[:-1]):
        with pytest.raises(ValueError, match="41 bytes"):
            Tree.from_bytes(broken)
    with pytest.raises(ValueError, match="slot in"):
        Tree.grow(SEED).leaf(LEAVES)
    with pytest.raises(ValueError, match="range"):
        Tree.grow(SEED).punctured([(3, 2)])
    with pytest.raises(ValueError, match="level"):
        Node(DEPTH + 1, 0, SEED)
    assert SEED.hex() not in repr(Tree.grow(SEED))
    assert "value" not in repr(Node(0, 0, SEED))


def siblings_forgotten(node: Node, cuts) -> list[Node]:
    """A mutant: keeps the parent of a punctured leaf."""
    first, after = node.index << node.level, (node.index + 1) << node.level
    if node.level == 1 or all(after <= cut[0] or cut[1] <= first for cut in cuts):
        return [node]
    if any(cut[0] <= first and after <= cut[1] for cut in cuts):
        return []
    return [*siblings_forgotten(node.child(0), cuts), *siblings_forgotten(node.child(1), cuts)]


def test_a_tree_that_keeps_a_parent_is_seen(monkeypatch) -> None:
    monkeypatch.setattr(Node, "without", siblings_forgotten)
    with pytest.raises(AssertionError):
        test_no_node_that_is_left_lies_above_a_punctured_leaf()
