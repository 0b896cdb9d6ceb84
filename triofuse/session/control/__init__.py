"""What ends a request early: INTERRUPT and signals, deadlines; and FORGET."""
