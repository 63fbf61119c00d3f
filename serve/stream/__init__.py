"""New ticks, bars and events as server-sent events: one poller for all listeners.

places.py says up to where somebody has seen the logs, arrivals.py what was committed since, events.py how it is sent,
listeners.py who takes it, poller.py asks, router.py is the route.
"""
