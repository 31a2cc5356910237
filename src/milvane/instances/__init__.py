"""Placeholder: written with its first module."""
