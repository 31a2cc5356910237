"""
The management API: what the console and scripts use to govern the service and to read its usage.

Every route needs a session of an operator or a key that may manage, also on this machine.
"""
