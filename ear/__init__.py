"""EAR: erase a concept from an autoregressive image model, and measure what that cost."""
