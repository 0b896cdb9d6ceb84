"""The requests that were read and are not answered."""
