"""Curves as numbers, and pictures of them: SVG, matplotlib, the terminal.

Importing this package registers the functions behind `Schedule.plot` and the pictures of notebooks.
matplotlib and rich are imported only by what draws with them.
"""

from lrsched._schedule import register_renderers
from lrsched.pictures.curves import sparkline
from lrsched.pictures.plots import plot_schedule

register_renderers(plot=plot_schedule, html=sparkline)
