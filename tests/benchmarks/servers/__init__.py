"""The same filesystem in memory, once with each library; each file is a program."""
