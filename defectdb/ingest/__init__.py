"""Files of DFT defect structures to rows of the database, with a report of what was taken and refused."""

from defectdb.ingest.load import LoadReport, load

__all__ = ["LoadReport", "load"]
