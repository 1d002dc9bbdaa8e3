"""Anonymisation, sealing, differential privacy, accounting and the ledger."""
