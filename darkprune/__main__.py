"""`python -m darkprune`."""

import sys

from darkprune.cli.main import main

sys.exit(main())
