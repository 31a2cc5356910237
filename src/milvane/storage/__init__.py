"""
The SQL database as such, and the folder of files beside it.

`database` opens an engine and runs blocking work in an executor of its own; `tables` is the one
schema, `migrations` brings any older one up to it; `files` keeps uploaded and produced files, their
content on disk and their facts in SQL, which are `file_records`. Invariants: SQL is dialect-neutral
(SQLite and PostgreSQL); a file is listed only when its content is safely on disk. May import
`domain`.
"""
