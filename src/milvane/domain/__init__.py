"""
The vocabulary: frozen values, enums, pure rules, and every error.

Imports the standard library and NumPy's types, nothing else; everything else may import it.
"""
