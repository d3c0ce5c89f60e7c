"""The report as pages of a folder that opens from disk: a table of all experiments, and a page of each."""
