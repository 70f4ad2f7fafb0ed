"""cm room."""
