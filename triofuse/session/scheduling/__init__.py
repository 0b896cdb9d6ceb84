"""Who reads the device and who serves: Leader/Followers."""
