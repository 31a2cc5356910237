"""
The one use case that all front doors share: resolve a model, check the inputs, embed them.

Owns the ports (`ports`) that its neighbours satisfy without importing it; `bootstrap` joins them.
May import `inference` and `domain`.
"""
