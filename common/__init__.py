"""The common build: a complete deep-learning pipeline that experiments inherit. Knows torch, never `pipeline`."""
