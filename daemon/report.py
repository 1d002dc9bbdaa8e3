"""The audit report as text, for a terminal: what was learned, from how many, at what cost, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from daemon.status import RoundLine, Status

_STYLES = {
    "live": "green",
    "passed": "green",
    "pass": "green",
    "rejected": "yellow",
    "fail": "red",
    "inconclusive": "yellow",
    "refused": "yellow",
    "failed": "red",
    "interrupted": "red",
}


def show(status: Status, console: Console) -> None:
    """Prints the report; colour follows the terminal and NO_COLOR."""
    console.print(_head(status))
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, value in _facts(status):
        table.add_row(name, value)
    console.print(table)
    for line in status.rounds:
        for part in _round(line, status.unit):
            console.print(part)
    for problem in status.problems:
        console.print(Text(f"! {problem}", style="bold red"))
    if not status.problems:
        console.print(Text("No problem found.", style="green"))


def _head(status: Status) -> Text:
    state = ("serving", "green") if status.serving else ("not running", "red")
    return Text.assemble(
        ("ocrd ", "bold"), f"{status.home}: ", state, f", model {status.model or 'none'}, {status.time}"
    )


def _coverage(status: Status) -> str:
    if status.coverage is None:
        return "nothing yet"
    held = status.documents.get("quarantined", 0)
    return f"again: on {status.coverage:.1%} of the documents nothing more was found; {held} went to quarantine"


def _facts(status: Status) -> list[tuple[str, RenderableType]]:
    states = status.documents
    order = ("done", "duplicate", "quarantined", "failed", "claimed", "withdrawn", "forgotten", "evicted")
    counts = [f"{states[s]} {s}" for s in order if states.get(s)] or ["none yet"]
    removed = [f"{n} {kind}" for kind, n in sorted(status.removed.items(), key=lambda kv: -kv[1])] or ["nothing yet"]
    units = status.units
    ledger = status.ledger
    facts: list[tuple[str, RenderableType]] = [
        ("Documents", f"{', '.join(counts)}; {status.inbox_waiting} in the inbox"),
        ("Removed", ", ".join(removed)),
        ("Looked at", _coverage(status)),
        (
            "Units",
            f"{units.get('train', 0)} train ({units.get('teaching', 0)} teach), {units.get('holdout', 0)} hold-out; "
            f"pool of {status.capacity}",
        ),
        ("Privacy", _privacy(status)),
        (
            "Ledger",
            f"{ledger['entries']} entries, {ledger['debits']} debits, "
            + (
                f"verified, head {ledger['head'][:16]}"
                if ledger["verified"] and ledger["head"]
                else "nothing to verify"
                if ledger["verified"]
                else "BROKEN"
            ),
        ),
    ]
    for name, found in status.drift.items():
        since = f"ALARM since {found['alarmed']}" if found["alarmed"] else "no alarm"
        facts.append((f"Drift {name}", f"{since}; checked {found['checked']}"))
    return facts


def _privacy(status: Status) -> str:
    cap = f"cap epsilon {status.epsilon_cap:g} at delta {status.delta:g}, for life, a {status.unit}"
    if not status.worst_epsilon:
        return f"nothing charged yet; {cap}"
    spent = ", ".join(f"{pool} {epsilon:.2f}" for pool, epsilon in sorted(status.worst_epsilon.items()))
    return f"worst {status.unit} so far: {spent}; {cap}"


def _round(line: RoundLine, unit: str) -> Iterator[RenderableType]:
    """The round's line, then each gate's, indented."""
    epsilon = "" if line.epsilon is None else f", epsilon {line.epsilon:.2f} a {unit}"
    state = (line.state, _STYLES.get(line.state, ""))
    yield Text.assemble(f"Round {line.id}, {line.started} ({line.cause}): ", state, epsilon)
    if line.reason and not line.gates:
        yield Padding(Text(line.reason), (0, 0, 0, 3))
    for adapter in line.plan:
        yield Padding(Text(f"adapter {adapter}"), (0, 0, 0, 3))
    for name, verdict in line.gates.items():
        outcome, _, why = verdict.partition(": ")
        found = Text.assemble(f"{name}: ", (outcome, _STYLES.get(outcome, "")), f"; {why}" if why else "")
        yield Padding(found, (0, 0, 0, 3))
