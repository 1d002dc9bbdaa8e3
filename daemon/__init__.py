"""The service: command line, ingest, state, schedule, rounds and reports."""
