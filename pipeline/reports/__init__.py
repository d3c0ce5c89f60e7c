"""What results say about each other: how sure a difference is, in words and numbers. Reads files, and no torch."""
