"""The commands of `force`, one module each; each reads as the list of its steps."""
