"""
Alerts: rules on usage, looked at again and again, and who is told.

`rules` says what may be watched, `states` when a rule fires and when it is over, `watching` what a
rule's number is; all three are pure. `shelf` is what the database keeps, `watcher` the component
that looks and tells, `notifying` the way out.
"""
