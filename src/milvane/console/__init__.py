"""
The console: pages in the browser, which hold nothing and take all that they show from the API.

Everything that a page loads comes from this server; see `docs/how-to/use-the-console.md`.
"""
