"""The inbox as a state machine (tests/inbox_machine.py), and bugs that it must see.

`OCRD_LONG=1` tries 2,000 longer runs instead of 60, with a new seed each time.
"""

from __future__ import annotations

import os
import re

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from daemon import pipeline, receipts, taking, unchanged
from daemon.pipeline import Pipeline
from daemon.state import Documents
from daemon.taking import Claims
from inbox_machine import InboxMachine

LONG = bool(os.environ.get("OCRD_LONG"))
SOUND = settings(
    max_examples=2000 if LONG else 60,
    stateful_step_count=50 if LONG else 25,
    deadline=None,
    derandomize=not LONG,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)
BROKEN = settings(SOUND, max_examples=300, phases=[Phase.generate], derandomize=True, report_multiple_bugs=False)


@pytest.fixture(autouse=True)
def machine(weights_dir):
    InboxMachine.weights = weights_dir


@pytest.mark.timeout(0 if LONG else 300)
def test_whatever_happens_every_file_has_exactly_one_receipt():
    run_state_machine_as_test(InboxMachine, settings=SOUND)


def plant(monkeypatch, bug):
    if bug == "the claim is removed before the ending is committed":
        real = Pipeline.commit

        def early(self, batch):
            taking.discard([prepared.claim for prepared in batch])
            return real(self, batch)

        monkeypatch.setattr(Pipeline, "commit", early)
    elif bug == "claims are not taken up at the start":
        monkeypatch.setattr(Claims, "left", lambda self: [])
    elif bug == "endings are committed before what they speak of is sealed":
        real_commit = pipeline.sealing.commit
        late = []
        monkeypatch.setattr(pipeline.sealing, "commit", lambda shelf, sealings: late.append((shelf, sealings)))
        real_finish = Pipeline.finish

        def finish(self, claims):
            while late:
                real_commit(*late.pop())
            real_finish(self, claims)

        monkeypatch.setattr(Pipeline, "finish", finish)
    elif bug == "a file that is still open for writing is taken for whole":
        monkeypatch.setattr(unchanged, "is_written", lambda fd: False)
    elif bug == "a copy is not known as one":
        monkeypatch.setattr(Documents, "original_of", lambda self, id, digest: None)
    elif bug == "a new start gives a claim a new document":
        real_load = Claims.load

        def load(self, id):
            folder = self._claimed / id
            return real_load(self, folder.rename(self._claimed / f"{int(id, 16) ^ 1:016x}").name)

        monkeypatch.setattr(Claims, "load", load)
    elif bug == "a receipt outlives its document":
        monkeypatch.setattr(receipts, "destroy", lambda home, ids: None)


ONE = "a file has not exactly one document"
BUGS = {
    "the claim is removed before the ending is committed": f"not ended|labels were lost|{ONE}",
    "claims are not taken up at the start": f"left among the claims|not ended|{ONE}",
    "endings are committed before what they speak of is sealed": "No blob|No document|labels were lost",
    "a file that is still open for writing is taken for whole": ONE,
    "a copy is not known as one": "of equal contents one teaches",
    "a new start gives a claim a new document": f"^receipts|not ended|{ONE}",
    "a receipt outlives its document": "^receipts|a receipt of a forgotten document",
}
"""Each with what the machine says of it."""


@pytest.mark.parametrize(("bug", "seen"), BUGS.items())
def test_the_machine_sees(bug, seen, monkeypatch):
    plant(monkeypatch, bug)
    with pytest.raises(Exception) as caught:  # noqa: PT011
        run_state_machine_as_test(InboxMachine, settings=BROKEN)
    each = caught.value.exceptions if isinstance(caught.value, ExceptionGroup) else [caught.value]
    assert any(re.search(seen, str(error)) for error in each), each
