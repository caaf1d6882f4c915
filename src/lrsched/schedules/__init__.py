"""Pure functions of the step, one family a file."""
