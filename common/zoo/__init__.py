"""Models to choose by name, one a module, each with its `Config` beside it."""
