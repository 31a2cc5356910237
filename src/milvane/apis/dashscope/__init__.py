"""
The native API of Model Studio, as the `dashscope` packages speak it.

Errors are flat JSON objects with a status other than 200; an absent value is an absent key, never
null. Field names, codes and texts are those of the public documents. May import `serving` and
`domain`.
"""
