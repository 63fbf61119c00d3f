"""What all rooms share: categories, settings, connections, the local stack, access, and the command line's shell."""
