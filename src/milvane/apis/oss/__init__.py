"""The dialect of object stores that `oss2` speaks."""
