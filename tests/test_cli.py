"""The command as a newcomer meets it: help, wrong usage, and a state folder that is not there or has had no start."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import running
from daemon import cli
from daemon.cli import main
from daemon.errors import EXIT_CODES
from daemon.records import Rounds
from daemon.state import Database
from sealed import in_memory, state_folder


def ocrd(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments])


@pytest.fixture
def fresh(weights_dir):
    """What `ocrd init` makes."""
    with in_memory() as folder:
        yield state_folder(folder / "home", weights_dir).settings.home


def commands(group, *path):
    for name, command in group.commands.items():
        yield from commands(command, *path, name) if hasattr(command, "commands") else [(*path, name)]


@pytest.mark.parametrize("command", [(), *commands(main)], ids=" ".join)
def test_every_command_has_help_and_refuses_options_that_it_has_not(command):
    done = ocrd(*command, "--help")
    assert (done.exit_code, done.output.startswith("Usage: ")) == (0, True)
    done = ocrd(*command, "--frobnicate")
    assert done.exit_code == 2
    assert "No such option '--frobnicate'" in done.output


def test_without_its_exception_help_of_the_service_is_a_fault(monkeypatch):
    """The mutant: what click raises to end a command is taken for an error of ours."""
    monkeypatch.setattr(cli.click.exceptions, "Exit", type("Exit", (RuntimeError,), {}))
    monkeypatch.setattr(cli.click, "Abort", type("Abort", (RuntimeError,), {}))
    monkeypatch.setattr(cli.click, "ClickException", type("ClickException", (Exception,), {}))
    assert ocrd("start", "--frobnicate").exit_code == 1


def test_the_exit_codes_stand_in_order_each_once():
    shown = [int(line.split()[0]) for line in cli.HELP.split("Exit codes:\n")[1].splitlines() if line.startswith("  ")]
    assert shown == sorted({0, 2, *EXIT_CODES.values()})


@pytest.mark.parametrize("command", ["status", "start", "train", "find x.png", "quarantine list", "key rotate"])
def test_a_folder_that_is_not_there_is_named_with_what_makes_it(command, tmp_path):
    done = running.ocrd(tmp_path / "none", *command.split())
    assert done.returncode == 4
    assert f"ocrd --home {tmp_path}/none init" in done.stderr


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("status", 0, "none yet"),
        ("find x.png", 1, "no document came under that name"),
        ("quarantine list", 0, ""),
        ("retry --all", 8, "nothing was taken up again"),
        ("export abc --out /", 1, "There are no documents yet"),
        ("recover abc --out /", 1, "There is no sealed original of document abc"),
        ("forget abc --yes", 1, "There are no documents yet"),
        ("train", 7, "does not run"),
        ("rollback", 7, "does not run"),
    ],
)
def test_before_the_first_start_no_command_fails_for_want_of_a_database(fresh, command, code, said):
    done = ocrd("--home", fresh, *command.split())
    assert done.exit_code == code, done.output
    assert said in done.output


def test_a_state_folder_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    done = ocrd("--home", tmp_path / "file" / "state", "init")
    assert done.exit_code == 3
    assert f"{tmp_path}/file/state cannot be made: Not a directory. Name another folder with --home" in done.output


def test_a_round_that_is_waited_for_is_told_by_what_is_new_and_once_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody reads a hundred lines that say the same, nor waits for hours without one."""
    database = Database(tmp_path / "state.db")
    rounds, now = Rounds(database), [0.0]
    number = rounds.begin("by hand", 0.0)
    said = ["planning"] * 3 + ["step 1"] * 30

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if said:
            database.set("progress", said.pop(0))
        else:
            rounds.end(number, "refused", 1.0, reason="noise")

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    database.set("progress", said.pop(0))
    cli._wait_for_round(tmp_path / "state.db", number)
    told = [line.removeprefix(f"round {number}: ") for line in capsys.readouterr().out.splitlines()]
    assert told == ["planning", "step 1", "step 1", "step 1", "refused: noise"]
