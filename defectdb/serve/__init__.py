"""The database for others to look at: the explorer's static site."""
