"""What a person sees on a terminal: tables, narration, progress, reports."""
