"""Milvane: the open, self-hosted embedding service for Milvus."""
