"""The report: one self-contained page that shows what a run did, and the strip of pictures that explains it."""

from pipeline.report.page import write_report
from pipeline.report.strip import story_strip

__all__ = ["story_strip", "write_report"]
