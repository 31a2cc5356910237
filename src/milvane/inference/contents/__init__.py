"""
The engine for contents with images and videos.

`encoders` say, without a tensor library, how a family sees: its template, sizes, frames, patches.
`networks` run it with PyTorch. `families` joins the two for a folder of weights, and `engine` puts
the queue in front.
"""
