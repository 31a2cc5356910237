"""Pushing what `/metrics` shows to an OpenTelemetry collector, as OTLP over HTTP."""
