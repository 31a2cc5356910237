"""
What a network is fed and what is done with its states: tokens, prompts, pooling; no tensor library.

`families` says it where a folder does not; `recipe` reads what a folder says of itself; `text`
turns texts into token ids accordingly. None of them runs a network.
"""
