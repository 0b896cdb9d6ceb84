"""Which task reads the device, which one serves, and who is next."""
