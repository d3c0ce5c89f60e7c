"""Outside programs, one module each; `process` is the only door to subprocesses."""
