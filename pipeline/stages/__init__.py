"""What runs inside a stage: the only part of `pipeline` that imports torch and `common`."""
