"""What may be done to samples before they are stored: a module each, which params name in `data.transforms`."""
