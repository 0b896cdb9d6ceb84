"""The pytest plugin, run by pytest in processes of their own."""
