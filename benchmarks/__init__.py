"""The performance figures, each beside a peer or a bound; `python -m benchmarks` prints them all."""
