"""The demo: one session through both lanes, a day promoted, everything checked and counted, and the stack left up."""
