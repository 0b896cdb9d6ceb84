"""How a filesystem is run: in a trio program, as a program, as a command."""
