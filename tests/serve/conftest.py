"""The toy database for the tests of this folder."""

from support.toy_fixtures import db, toy_path, toy_template

__all__ = ["db", "toy_path", "toy_template"]
