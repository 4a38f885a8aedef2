"""The version of defectdb, which runs and files of other processes carry."""

__version__ = "0.2.0"
