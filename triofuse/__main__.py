"""``python -m triofuse``: see `triofuse.command.main`."""

from triofuse.command.main import main

if __name__ == "__main__":
    main()
