"""Files of DFT defect structures to rows of the database, with a report of what was taken and refused."""

from defectdb.ingest.citations import bibtex_entries
from defectdb.ingest.download import Download
from defectdb.ingest.formats import Options
from defectdb.ingest.load import LoadReport, load

__all__ = ["Download", "LoadReport", "Options", "bibtex_entries", "load"]
