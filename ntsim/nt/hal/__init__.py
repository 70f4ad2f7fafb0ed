"""hal room."""
