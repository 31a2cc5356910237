"""
One module per model family: tokens, special tokens, pooling; no tensor library.

An encoder knows what a family's network is fed; it does not run the network.
"""
