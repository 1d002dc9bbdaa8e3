"""Replay slots, labels, public documents and the private fine-tuning of a recogniser."""
