"""Many networks of one kind, trained as the rows of one kernel."""
