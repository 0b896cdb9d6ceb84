"""What goes wrong, and who notices: a table of faults, a hail of kills, a soak."""
