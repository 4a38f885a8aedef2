"""Commands about networks of the defects, and options that other commands have for them."""
