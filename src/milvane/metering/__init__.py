"""
The ledger of usage: written before a call is answered, summed up for charts, quotas and alerts.

A record is first a line of a file (`journal`), which survives the death of the process; a loop
moves whole files into SQL, each exactly once (`recorder`, `ledger`), with sums over 10 s, 1 min and
1 h (`folding`). `series` makes charts of the sums.
"""
