"""Do persona vectors mean something? Separation of answers by projection, and steering."""
