"""`python -m milvane.cli` is `milvane`."""

from milvane.cli.main import main

if __name__ == "__main__":
    main()
