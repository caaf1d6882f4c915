"""Optax transforms that put a schedule to use and keep it in the optimizer's state."""
