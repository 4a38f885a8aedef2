"""Load files of DFT defect structures into the database, and report what was loaded and what was refused."""

from defectdb.ingest.citations import bibtex_entries
from defectdb.ingest.load import load
from defectdb.ingest.options import Download, Options
from defectdb.ingest.report import LoadReport

__all__ = ["Download", "LoadReport", "Options", "bibtex_entries", "load"]
