"""Models that other tools saved, one module for each kind of file."""
