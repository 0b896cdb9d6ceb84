"""The pytest plugin: mounts for tests, on by default where triofuse is installed."""
