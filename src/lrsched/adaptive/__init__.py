"""Transforms that find or adapt the learning rate by themselves, one family of methods a file."""
