"""What a session is doing: reports, and a thread that watches the loop."""
