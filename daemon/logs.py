"""What the service says of itself: to the journal, or to a terminal. Nothing private is in it."""

from __future__ import annotations

import logging
import os
import sys


def log_to_stderr(verbose: bool) -> None:
    """To the journal with priorities under systemd, with times elsewhere."""
    under_systemd = "JOURNAL_STREAM" in os.environ
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _JournalFormatter() if under_systemd else logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    )
    logging.basicConfig(level=logging.INFO if not verbose else logging.DEBUG, handlers=[handler], force=True)
    for chatty in ("apscheduler", "watchdog", "RapidOCR", "PIL"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}
"""Python's levels as syslog's."""


class _JournalFormatter(logging.Formatter):
    """Prefixes each record with its syslog priority, as sd-daemon(3) reads it."""

    def format(self, record: logging.LogRecord) -> str:
        priority = f"<{PRIORITIES.get(record.levelno, 3)}>"  # the journal makes an entry of each line
        return "\n".join(f"{priority}{record.name}: {line}" for line in record.getMessage().splitlines() or [""])
