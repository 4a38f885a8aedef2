"""Files of DFT defect structures to rows of the database, with a report of what was taken and refused."""

from defectdb.ingest.citations import bibtex_entries
from defectdb.ingest.load import LoadReport, load
from defectdb.ingest.options import Download, Options

__all__ = ["Download", "LoadReport", "Options", "bibtex_entries", "load"]
