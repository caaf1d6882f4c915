"""Curves as numbers, as matplotlib figures and as text in a terminal."""
