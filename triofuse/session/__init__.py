"""The nursery that serves one mount: reader, handlers, replies."""
