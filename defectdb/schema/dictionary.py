"""The data dictionary: every table, view and column with its unit and meaning."""

from __future__ import annotations

from defectdb.schema.dictionary_entries import Table
from defectdb.schema.potential_tables import POTENTIAL_TABLES
from defectdb.schema.stored_tables import STORED_TABLES
from defectdb.schema.views import VIEWS

TABLES: tuple[Table, ...] = (*STORED_TABLES, *POTENTIAL_TABLES, *VIEWS)
