"""Detectors of personal data, one module a kind."""
