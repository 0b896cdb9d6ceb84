"""One request, from its bytes to its reply: decode, call, encode, send."""
