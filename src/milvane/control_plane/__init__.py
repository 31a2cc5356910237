"""
What an operator governs: services, instances and their associations, keys, quotas, the audit log.

Commands change the database, each with its audit entry in one transaction (`commands`, `keys`,
`operators`). Calls look at a snapshot in memory (`directory`), which follows the database within
about a second, also after changes that another server has made. `quotas` decides.
"""
