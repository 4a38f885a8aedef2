"""The explorer: a folder of static files that reads a copy of the database in the browser."""
