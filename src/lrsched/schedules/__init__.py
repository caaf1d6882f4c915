"""Schedules as pure functions of the step, one family in each module."""
