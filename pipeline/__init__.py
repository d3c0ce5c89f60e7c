"""The tooling: plans, runs and compares experiments. Knows no torch outside `pipeline.stages`."""
