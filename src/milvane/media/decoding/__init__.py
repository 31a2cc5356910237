"""Decoding of images and videos, in processes that may be killed; nobody else imports a decoder."""
