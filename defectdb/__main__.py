"""`python -m defectdb` and the `defectdb` command."""

from defectdb.cli import main

if __name__ == "__main__":
    main()
