"""Reports on a session, and a thread that watches the event loop."""
