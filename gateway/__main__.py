"""``python -m gateway``: the same command as ``ordergate``."""

from gateway.cli import main

if __name__ == "__main__":
    main()
