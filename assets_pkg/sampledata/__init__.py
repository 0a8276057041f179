"""Made-up days of a shop's raw files, as messy as real ones: for demos, for tests and for trials at size.

`shop` knows what really happened, `mess` what goes wrong with a row or a line, `files` how rows come to lie
in files, `days` puts a day together. The pipeline itself uses nothing of this.
"""

from assets_pkg.sampledata.days import MIN_EVENTS, DayFiles, generate

__all__ = ["MIN_EVENTS", "DayFiles", "generate"]
