"""``python -m sklearn_llm2vec``: the command line, where its script isn't on the path."""

import sys

from sklearn_llm2vec.cli import main

if __name__ == "__main__":
    sys.exit(main())
